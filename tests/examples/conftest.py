import sys
from pathlib import Path

# As for a script beside it: its folder is where `contrast_study` is found.
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
