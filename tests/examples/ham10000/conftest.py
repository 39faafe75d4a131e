import sys
from pathlib import Path

# As for a script beside it: its folder is where `seed_study` is found.
sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "ham10000"))
