import sys
from pathlib import Path

# For `import spots`, the pupils of several files.
sys.path.append(str(Path(__file__).parent))
