"""Whether answers hold on shapes from outside, on really trained students and on the quickstart."""
