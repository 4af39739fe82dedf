"""The report of a run: one HTML page with everything in it (no script, no address), for a browser or an e-mail.

`charts` draws SVG by hand, `sections` puts charts, tables and their explanations together, `html` is the page.
"""
