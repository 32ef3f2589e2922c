// Follows what happens: the page is asked for again and its content put in place. Without this script the page is whole,
// too; it only stands still.
(() => {
  "use strict";
  let asking = false;
  let again = false;

  async function renew() {
    if (document.hidden) { again = true; return; }
    if (asking) { again = true; return; }
    asking = true;
    again = false;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("main");
      const main = document.getElementById("main");
      // Whoever reads with the keyboard or selects text is not disturbed; the next change comes soon.
      const busy = main.contains(document.activeElement) || String(getSelection()).length > 0;
      if (fresh && !busy && fresh.innerHTML !== main.innerHTML) main.innerHTML = fresh.innerHTML;
    } catch {
      // The daemon restarts, perhaps: the stream comes back by itself.
    } finally {
      asking = false;
      if (again && !document.hidden) renew();
    }
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden && again) renew(); });
  const events = new EventSource("/events");
  events.addEventListener("change", renew);
  events.addEventListener("beat", renew);
})();
