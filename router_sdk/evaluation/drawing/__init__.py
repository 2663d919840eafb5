"""Pages and charts that need nothing from outside: inline style and SVG."""
