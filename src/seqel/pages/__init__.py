"""HTML pages that open offline: one style, one frame, and charts as SVG."""
