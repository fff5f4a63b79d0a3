"""One command, one file: ``_NAME.py`` holds ``app``. Nothing here imports torch before a command is carried out."""
