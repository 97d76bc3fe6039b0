"""The dashboard and its views, for notebooks and for the browser."""
