import sys
from pathlib import Path

# For `import surface`, the walk over the public names that several tests share.
sys.path.append(str(Path(__file__).parent))
