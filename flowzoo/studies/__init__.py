"""Questions with a program each, a table and a picture: `python -m flowzoo.studies.<name>`."""
