// Draws every figure of the page: each stands as JSON in a script element of its own.
for (const source of document.querySelectorAll("script.figure-source")) {
  const { data, layout, config } = JSON.parse(source.textContent);
  const place = document.createElement("div");
  place.className = "figure";
  source.after(place);
  Plotly.newPlot(place, data, layout, config);
}
