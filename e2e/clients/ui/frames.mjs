// How long a frame takes while the pages of a crowd of services are moved: `node crowd.mjs 23950 DIST`, then
// `node frames.mjs http://127.0.0.1:23950`. Prints, and judges nothing: it depends on the machine.

import { open, start } from "./browser.mjs";

const [base] = process.argv.slice(2);
const browser = await start();
const { page } = await open(browser, base, { width: 1440, height: 900 });

/** Milliseconds between frames, and how long the script was busy, while `move` goes on. */
async function measured(name, move) {
  await page.evaluate(() => {
    globalThis.frames_ = [];
    globalThis.long_ = [];
    globalThis.watch_?.disconnect();
    globalThis.watch_ = new PerformanceObserver((list) => globalThis.long_.push(...list.getEntries().map(({ duration }) => duration)));
    globalThis.watch_.observe({ type: "longtask" });
    let last = performance.now();
    globalThis.running_ = true;
    const frame = (now) => {
      globalThis.frames_.push(now - last);
      last = now;
      if (globalThis.running_) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  await move();
  const { frames, long } = await page.evaluate(() => {
    globalThis.running_ = false;
    return { frames: globalThis.frames_.slice(1), long: globalThis.long_ };
  });
  frames.sort((a, b) => a - b);
  const at = (share) => frames[Math.min(frames.length - 1, Math.floor(frames.length * share))]?.toFixed(1);
  const longest = Math.max(0, ...long).toFixed(0);
  console.log(`${name}: ${frames.length} frames, p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, max ${at(1)} ms; ${long.length} tasks over 50 ms, longest ${longest} ms`);
}

await page.goto(`${base}/#/sees`);
const seen = (text) => page.getByText(text).first().waitFor();

/** All services are listed, and the lines beside them drawn: a frame makes a part of them. */
async function allRows() {
  await page.waitForFunction(() => document.querySelector(".tiles dd").firstChild.textContent === String(document.querySelectorAll("tbody tr").length));
  await page.waitForTimeout(300);
}

await measured("overview, opening", async () => {
  await page.goto(`${base}/#/services?range=live`);
  await seen("Requests answered");
  await allRows();
});
await measured("overview, scrolling through it while it renews itself", async () => {
  for (let step = 0; step < 60; step += 1) {
    await page.mouse.wheel(0, step < 30 ? 200 : -200);
    await page.waitForTimeout(50);
  }
});
await measured("overview, typing a filter", async () => {
  await page.keyboard.press("/");
  await page.keyboard.type("order-0", { delay: 80 });
});
const shown = await page.locator("tbody tr").count();
console.log(`  ${shown} services match`);
await measured("overview, clearing the filter", async () => {
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.press("Delete");
  await page.waitForFunction((few) => document.querySelectorAll("tbody tr").length > few, shown);
  await allRows();
});
await measured("topology, opening", async () => {
  await page.goto(`${base}/#/topology?range=live`);
  await seen("Edges, worst first");
  await page.waitForTimeout(500);
});
console.log(`  ${await page.locator(".head .quiet").innerText()}`);
const box = await page.locator(".graph canvas").boundingBox();
const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
await measured("topology, dragging all of it", async () => {
  await page.mouse.move(x, y);
  await page.mouse.down();
  for (let step = 0; step < 120; step += 1) await page.mouse.move(x + 100 * Math.sin(step / 10), y + 60 * Math.cos(step / 10));
  await page.mouse.up();
});
await measured("topology, zooming in and out", async () => {
  for (let step = 0; step < 80; step += 1) {
    await page.mouse.wheel(0, step < 40 ? -60 : 60);
    await page.waitForTimeout(16);
  }
});
await measured("topology, pointing at one after another", async () => {
  for (let step = 0; step < 100; step += 1) await page.mouse.move(box.x + 20 + (step * (box.width - 40)) / 100, y + 80 * Math.sin(step / 5));
});
// How long drawing itself takes, without the pauses between frames.
await measured("service of ten endpoints, opening", async () => {
  await page.goto(`${base}/#/services/cart-01?range=live`);
  await seen("Endpoints served");
  await page.waitForTimeout(500);
});
await measured("service, moving over its charts while it renews itself", async () => {
  const plot = await page.locator(".plot").first().boundingBox();
  for (let step = 0; step < 150; step += 1) {
    await page.mouse.move(plot.x + 80 + step * 1.5, plot.y + 60);
    await page.waitForTimeout(16);
  }
});
await browser.close();
