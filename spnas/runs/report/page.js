"use strict";
(() => {
  const { charts, architectures } = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const phone = matchMedia("(max-width: 600px)");
  const touch = matchMedia("(pointer: coarse)").matches;

  // Colours are given as names of CSS variables, which say how they look on this page.
  function resolved(value, css) {
    if (typeof value === "string" && value.startsWith("--")) return css.getPropertyValue(value).trim();
    if (Array.isArray(value)) return value.map((one) => resolved(one, css));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, resolved(one, css)]));
  }

  function axis(own, color) {
    return {
      gridcolor: color("--grid"), linecolor: color("--rule"), zeroline: false, automargin: true,
      tickfont: { color: color("--muted"), size: 12 }, ...own,
      title: { font: { color: color("--muted"), size: 13 }, standoff: 12, ...(own && own.title) },
    };
  }

  function layout(own, css) {
    const color = (name) => css.getPropertyValue(name).trim();
    const font = { family: getComputedStyle(document.body).fontFamily, color: color("--ink"), size: 13 };
    return {
      font, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
      margin: { l: 12, r: phone.matches ? 4 : 12, t: own.showlegend === false ? 8 : 36, b: 12 },
      legend: { orientation: "h", x: 0, y: 1, xanchor: "left", yanchor: "bottom", font: { color: color("--muted") } },
      hoverlabel: { bgcolor: color("--card"), bordercolor: color("--rule"), font, align: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--faint"), activecolor: color("--accent") },
      // On a touch screen a finger scrolls the page; there a point is touched, not dragged over.
      dragmode: touch ? false : "zoom",
      ...own, xaxis: axis(own.xaxis, color), yaxis: axis(own.yaxis, color),
    };
  }

  function draw() {
    const css = getComputedStyle(document.documentElement);
    for (const [name, chart] of Object.entries(charts)) {
      const box = document.getElementById(`chart-${name}`);
      if (chart.layout.height) box.style.height = `${chart.layout.height}px`;
      const config = {
        responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover", scrollZoom: false,
        modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
      };
      Plotly.react(box, resolved(chart.data, css), layout(chart.layout, css), config);
    }
  }

  // Texts of the run go in as text, never as HTML.
  function element(name, text) {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
  }

  function showArchitecture(trial) {
    const chosen = architectures.trials[trial];
    if (!chosen) return;
    const list = document.createElement("dl");
    architectures.choices.forEach((choice, number) => {
      const sites = architectures.sites.filter((_, place) => chosen[place] === number);
      if (sites.length) list.append(element("dt", `${choice} (${sites.length})`), element("dd", sites.join(", ")));
    });
    const box = document.getElementById("detail");
    box.replaceChildren(element("h2", `Architecture of trial ${trial}`), list);
    box.hidden = false;
  }

  draw();
  dark.addEventListener("change", draw);
  phone.addEventListener("change", draw);
  const front = document.getElementById("chart-front");
  if (front) front.on("plotly_click", (event) => showArchitecture(event.points[0].customdata));
})();
