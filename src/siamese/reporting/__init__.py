"""HTML pages and SVG charts for reports, without domain knowledge."""
