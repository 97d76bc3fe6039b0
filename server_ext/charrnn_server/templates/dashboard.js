"use strict";
(() => {
  const page = JSON.parse(document.getElementById("charrnn-page").textContent);
  const settings = JSON.parse(document.getElementById("jupyter-config-data").textContent);
  const start = document.getElementById("start");
  const cells = document.getElementById("rendered_cells");
  const headers = { "X-XSRFToken": page.xsrf };
  let kernel = null;
  let asking = null; // the timer of a page that has no connection yet
  let gone = false;

  /* Voilà's front end begins with the page's `load` event, which may be over before it has come or before there is a
     kernel: it begins when both are there. Its `beforeunload` would end the kernel with every download. */
  const waiting = [];
  let ready = false;
  const listen = window.addEventListener.bind(window);
  window.addEventListener = (type, listener, options) => {
    if (type === "load") ready ? listener() : waiting.push(listener);
    else if (type !== "beforeunload") listen(type, listener, options);
  };

  /* anywidget gives up a view that is not ready after 2 s, and then drops all that its kernel tells: a busy machine may
     need longer. */
  const timeout = AbortSignal.timeout.bind(AbortSignal);
  AbortSignal.timeout = (milliseconds) => timeout(Math.max(milliseconds, 60000));

  const frontEnd = document.createElement("script");
  frontEnd.src = `${settings.fullStaticUrl}/voila.js`;
  frontEnd.onerror = () => fail("The dashboard could not be loaded from the server.");
  document.head.append(frontEnd);

  function fail(text) {
    document.getElementById("starting").hidden = true;
    tell(text);
  }

  function tell(text) {
    const notice = document.getElementById("notice");
    document.getElementById("notice-text").textContent = text;
    notice.hidden = !text;
  }

  async function openDashboard() {
    for (;;) {
      let answer;
      try {
        answer = await fetch(`${page.dashboard}/kernels`, { method: "POST", headers });
      } catch {
        throw new Error("The server does not answer.");
      }
      if (answer.ok) return answer.json();
      const problem = await answer.json().catch(() => ({}));
      if (problem.reason !== "Busy") throw new Error(problem.message || `The server answered ${answer.status}.`);
      document.getElementById("starting-text").textContent = `${sentence(problem.message)} Waiting for a free one …`;
      await pause(5000);
    }
  }

  const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}${/[.!?…]$/.test(text) ? "" : "."}`;
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

  /* whether the kernel is there still; a slow page asks now and then, so that it is not taken for one that has gone */
  async function isThere() {
    const answer = await fetch(`${page.dashboard}/api/kernels/${kernel}`, { cache: "no-store", headers });
    return answer.status !== 404 && answer.status !== 403;
  }

  /* a kernel that is still there when the front end is */
  async function open() {
    const loaded = new Promise((resolve) => { frontEnd.onload = resolve; });
    for (;;) {
      const opened = await openDashboard();
      kernel = opened.id;
      if (gone) { leave(); return opened; }
      asking = setInterval(() => isThere().catch(() => {}), 5000);
      await loaded;
      if (await isThere()) return opened;
      clearInterval(asking);
    }
  }

  async function run() {
    const opened = await open();
    if (gone) return;
    document.body.dataset.kernelId = kernel; // where the front end looks for what its configuration does not have
    show();
    ready = true;
    for (const listener of waiting) listener();
    const application = await started();
    window.addEventListener = listen;
    const manager = application.widgetManager;
    if (!manager) throw new Error("This dashboard has ended before it could be shown.");
    watch(manager.kernel);
    await restored(manager);
    for (const output of opened.outputs) render(output, manager.rendermime);
  }

  /* Voilà would render at once, and a widget waits no more than 2 s for its model to come from the kernel: here all
     models are there first. */
  function restored(manager) {
    if (manager.restoredStatus) return Promise.resolve();
    const slow = setTimeout(() => tell("The dashboard is slow to start. Reload the page to try again."), 60000);
    return new Promise((resolve) => {
      manager.restored.connect(() => { clearTimeout(slow); tell(""); resolve(); });
    });
  }

  function render(output, rendermime) {
    const type = rendermime.preferredMimeType(output.data, "any");
    if (!type) return;
    const cell = document.createElement("div");
    cells.append(cell);
    const renderer = rendermime.createRenderer(type);
    renderer.addClass("jp-OutputArea-output");
    renderer.constructor.attach(renderer, cell);
    renderer.renderModel(output).catch((error) => fail(sentence(error.message)));
  }

  async function started() {
    while (!window.jupyterapp) await pause(50);
    return window.jupyterapp;
  }

  /* the list stays until there is something to work with in its place */
  function show() {
    const control = "button, a[href], input, select, textarea, [tabindex]";
    const look = () => {
      if (!cells.querySelector(control)) return;
      observer.disconnect();
      cells.hidden = false;
      start.remove();
      window.dispatchEvent(new Event("resize"));
    };
    const observer = new MutationObserver(look);
    observer.observe(cells, { childList: true, subtree: true });
  }

  function watch(connection) {
    let looking = false;
    const look = async () => {
      if (looking || gone) return;
      looking = true;
      await pause(1000);
      while (!gone && connection.connectionStatus !== "connected") {
        try {
          if (!await isThere()) {
            tell("This dashboard has ended. What was trained or written is kept: reload the page to go on.");
            return;
          }
          tell("The connection is lost. Trying again …");
          if (connection.connectionStatus === "disconnected") connection.reconnect().catch(() => {});
        } catch {
          tell("The server does not answer. Trying again …");
        }
        await pause(2000);
      }
      tell("");
      looking = false;
    };
    const connected = () => { if (connection.connectionStatus === "connected") clearInterval(asking); };
    connected();
    connection.connectionStatusChanged.connect(connected);
    connection.connectionStatusChanged.connect(look);
    connection.statusChanged.connect(() => { if (connection.status === "dead") look(); });
  }

  function leave() {
    gone = true;
    if (kernel === null) return;
    navigator.sendBeacon(`${page.dashboard}/kernels/${kernel}/leave?_xsrf=${encodeURIComponent(page.xsrf)}`);
  }

  listen("pagehide", leave);
  listen("pageshow", (event) => { if (event.persisted) location.reload(); });
  document.getElementById("notice-reload").addEventListener("click", () => location.reload());
  run().catch((error) => fail(sentence(error.message)));
})();
