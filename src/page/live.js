"use strict";
// What a report does where `lockstep serve` shows it: it asks for newer figures while somebody looks at it.
{
  const place = document.getElementById("live");
  let stamp = place.dataset.stamp;
  const look = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(`/api/report/${place.dataset.which}/${stamp}`);
      if (answer.status === 200) {
        stamp = answer.headers.get("x-stamp");
        showReport(await answer.json());
      }
      place.querySelector("span").textContent = answer.ok ? "" : "The server does not answer with newer figures.";
    } catch {
      place.querySelector("span").textContent = "The server does not answer: these are the last figures.";
    }
  };
  setInterval(look, 5000);
  document.addEventListener("visibilitychange", look);
}
