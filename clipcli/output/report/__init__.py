"""The HTML report: one page on which people look at images and their labels, and correct them.

ReportImage, About -> page.py -> JSON in page/template.html, with page/report.css and page/*.js
image files -> thumbnails.py -> WebP in the page, or in a folder beside it
"""
