"""Files for a manufacturer, and from one: reliefs and plates.

Files: ``fabrication`` reliefs, ``plate_file`` other masks, ``maker_file`` their two formats.
"""
