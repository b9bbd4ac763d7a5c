// A headless Chromium (Debian's) that notes everything that should not be: errors and warnings on the console, violations
// of the content security policy, requests to anybody but the agent.

import { createRequire } from "node:module";
import { join } from "node:path";
import { readFileSync } from "node:fs";

/** Where the kit is: `cargo xtask install` puts it into target/e2e-clients/ui. */
const kit = process.env.REDTAP_UI_KIT ?? new URL("../../../target/e2e-clients/ui", import.meta.url).pathname;
const require = createRequire(join(kit, "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

export async function start() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"],
  });
}

/**
 * A page of this size and colour scheme. `faults` gains a line for each thing that should not be; `expected(line)` says
 * which are wanted.
 */
export async function open(browser, base, { width = 1280, height = 800, scheme = "light", expected = () => false } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, reducedMotion: "reduce", locale: "en-GB" });
  const page = await context.newPage();
  const faults = [];
  const fault = (line) => {
    if (!expected(line)) faults.push(`${page.url()} ${scheme} ${width}: ${line}`);
  };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) fault(`console ${message.type()}: ${message.text()} ${message.location().url}`);
  });
  page.on("pageerror", (error) => fault(`exception: ${error.stack}`));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`${base}/`) && !url.startsWith("data:")) fault(`request to ${url}`);
  });
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI}`));
  });
  return { page, context, faults };
}

/** What axe finds that is serious or worse, a line each. */
export async function accessibility(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const result = await globalThis.axe.run(document, { resultTypes: ["violations"] });
    return result.violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .flatMap(({ id, impact, nodes }) => nodes.map((node) => `${impact} ${id}: ${node.html.slice(0, 200)} ${node.failureSummary}`));
  });
  return found;
}

/** How far the page is wider than its window, pixels; a page that must be scrolled sideways cannot be read on a phone. */
export function overflow(page) {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

/** Tables of which a part must be scrolled to sideways, by what they are; those that a chart folds away may be wide. */
export function cut(page) {
  return page.evaluate(() =>
    [...document.querySelectorAll(".scroll")]
      .filter((box) => !box.closest("details") && box.scrollWidth > box.clientWidth)
      .map((box) => `${box.querySelector("caption")?.textContent}: ${box.scrollWidth - box.clientWidth} px`),
  );
}
