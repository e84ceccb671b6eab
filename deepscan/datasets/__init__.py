"""From folders of files to streams of Examples."""
