"""An Excel workbook: cells, links, thumbnails, sheets."""
