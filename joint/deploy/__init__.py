"""What a trained system is used for.

Files: ``predict`` what it says of pictures, ``decision`` a rule that was kept · ``export`` what is
deployed, as one ``graph_file`` · ``data_sheet`` a camera in numbers.
"""
