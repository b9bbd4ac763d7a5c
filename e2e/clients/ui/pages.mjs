// Every page of a real agent in a real browser: `node pages.mjs BASE [SCREENSHOTS]`, started by e2e/tests/ui.rs, which also
// makes the traffic: nginx (with /broken answering 500), and an application that asks Redis. It says on standard output what
// it wants done ("calls please") and goes on when a line comes back. Ends with status 1 and a line for each claim that does
// not hold.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { accessibility, open, overflow, start } from "./browser.mjs";

const [base, screenshots] = process.argv.slice(2);
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Asks whoever started this for something, and waits until it is done. */
async function please(what) {
  console.log(`please ${what}`);
  return (await answers.next()).value;
}

const PAGES = [
  ["services", "#/services", "nginx"],
  ["service", "#/services/nginx", "Endpoints served"],
  ["topology", "#/topology", "Edges, worst first"],
  ["calls", "#/calls", "Took"],
  ["alarms", "#/alarms", "Alarms"],
  ["sees", "#/sees", "What it costs"],
];

const broken = [];
async function claim(name, proof) {
  try {
    await proof();
    console.log(`holds: ${name}`);
  } catch (error) {
    broken.push(name);
    console.log(`BROKEN: ${name}\n${error.stack}`);
  }
}

const browser = await start();

/** The value of a metric, summed over the series that have all of these labels. */
async function metric(name, labels) {
  const text = await (await fetch(`${base}/metrics`)).text();
  let sum = 0;
  for (const line of text.split("\n")) {
    if (!line.startsWith(`${name}{`) && !line.startsWith(`${name} `)) continue;
    if (labels.every((label) => line.includes(label))) sum += Number(line.split("} ").pop().split(" ")[0]);
  }
  return sum;
}

async function shown(page, text) {
  await page.getByText(text, { exact: false }).first().waitFor({ timeout: 20_000 });
}

/** The numbers of a row of a table, by the heading of its column. */
async function row(page, name) {
  const table = page.locator("table").filter({ has: page.getByRole("rowheader", { name }) }).first();
  const heads = await table.locator("thead th").allInnerTexts();
  const cells = await table.locator("tr").filter({ has: page.getByRole("rowheader", { name }) }).first().locator("th, td").allInnerTexts();
  return Object.fromEntries(heads.map((head, at) => [head.replace(/[▼▲]/g, "").trim(), (cells[at] ?? "").trim()]));
}

const SIZES = [
  ["light", 1280, 800],
  ["dark", 1280, 800],
  ["light", 360, 780],
  ["dark", 360, 780],
];

for (const [scheme, width, height] of SIZES) {
  const { page, context, faults } = await open(browser, base, { scheme, width, height });
  for (const [name, hash, text] of PAGES) {
    await claim(`${name}, ${scheme}, ${width} wide: shown, accessible, no wider than the window`, async () => {
      await page.goto(`${base}/${hash}`);
      await shown(page, text);
      assert.deepEqual(await accessibility(page), []);
      assert.ok((await overflow(page)) <= 0, `wider than its window by ${await overflow(page)} px`);
    });
    if (screenshots) await page.screenshot({ path: `${screenshots}/${name}-${scheme}-${width}.png` });
  }
  await claim(`nothing unwanted in the console, ${scheme}, ${width} wide`, () => assert.deepEqual(faults, []));
  await context.close();
}

await claim("numbers on the pages are those of /metrics", async () => {
  const { page, context } = await open(browser, base);
  const own = ['service_name="nginx"'];
  const name = "http_server_request_duration_seconds_count";
  const [all, failed] = [await metric(name, own), await metric(name, [...own, 'error_type="500"'])];
  assert.ok(failed > 0 && all > failed, `nginx answered ${all}, of these ${failed} with an error`);
  await page.goto(`${base}/#/services/nginx?range=1h`);
  // What is recorded every five seconds is shown every ten.
  await page.locator(".tiles").getByText(`${all} requests`, { exact: true }).waitFor({ timeout: 30_000 });
  const code = await row(page, "500");
  assert.equal(code.Requests, String(failed));
  const endpoint = await row(page, /\/users\/\{id\}/);
  const users = await metric(name, [...own, 'http_route="/users/{id}"']);
  // Rates are per recorded second: how they compare is what the counts say.
  const [part, whole] = [Number.parseFloat(endpoint.Rate), Number.parseFloat(await page.locator(".tiles dd").first().innerText())];
  assert.ok(Math.abs(part / whole - users / all) < 0.02, `${part} of ${whole} a second are not ${users} of ${all}`);
  const ratio = (await page.locator(".tiles dd").nth(1).innerText()).split("%")[0];
  assert.ok(Math.abs(Number(ratio) / 100 - failed / all) < 0.006 * (failed / all) + 1e-4, `${ratio} % is not ${failed} of ${all}`);
  await context.close();
});

await claim("the overview renews itself, without making its rows anew", async () => {
  const { page, context } = await open(browser, base);
  await page.goto(`${base}/#/services?range=live`);
  await shown(page, "nginx");
  const tile = page.locator(".tiles small").filter({ hasText: "request" }).first();
  const before = await tile.innerText();
  await page.getByRole("row").filter({ hasText: "nginx" }).first().evaluate((element) => (element.dataset.kept = "yes"));
  await please("traffic");
  await page.waitForFunction((old) => document.querySelector(".tiles small:not(:empty)") && ![...document.querySelectorAll(".tiles small")].some((each) => each.textContent === old), before, { timeout: 30_000 });
  assert.equal(await page.locator("tr[data-kept=yes]").count(), 1);
  await context.close();
});

await claim("the topology has the edges that there are, and leads to the services", async () => {
  const { page, context } = await open(browser, base);
  await page.goto(`${base}/#/topology?range=1h`);
  await shown(page, "Edges, worst first");
  const edges = (await page.locator(".edges .who").allInnerTexts()).map((text) => text.replace(/\s+/g, " ").trim());
  for (const edge of ["curl → nginx", "shop.py → redis-server"]) assert.ok(edges.includes(edge), `${edge} is not among ${edges.join("; ")}`);
  // By pointing: the graph says which node is where.
  await page.getByRole("button", { name: /shop\.py → redis-server/ }).click();
  await page.getByRole("link", { name: "Open redis-server" }).click();
  await page.getByRole("heading", { level: 1, name: "redis-server" }).waitFor();
  await context.close();
});

await claim("calls come as they happen, are filtered, and tell what they know", async () => {
  const { page, context } = await open(browser, base);
  await page.goto(`${base}/#/calls?service=nginx&side=server`);
  await page.getByText("live", { exact: true }).waitFor({ timeout: 20_000 });
  await please("traffic");
  await page.locator("tbody tr").filter({ hasText: "/broken" }).first().waitFor({ timeout: 20_000 });
  await page.getByLabel("Outcome").selectOption("error");
  await page.waitForFunction(() => location.hash.includes("status=error"));
  await page.locator("tbody tr").filter({ hasText: "/broken" }).first().waitFor({ timeout: 20_000 });
  const rows = await page.locator("tbody tr").allInnerTexts();
  assert.ok(rows.every((text) => text.includes("500")), rows.join("\n"));
  await page.locator("tbody tr .open").first().click();
  const detail = page.getByRole("region", { name: "One call" });
  await detail.waitFor();
  const facts = await detail.innerText();
  assert.match(facts, /Outcome\s+500/);
  assert.match(facts, /answered/);
  await context.close();
});

await claim("a call that was made for another hangs below it", async () => {
  const { page, context } = await open(browser, base);
  await page.goto(`${base}/#/calls?service=shop.py&side=server`);
  await please("traffic");
  await page.locator("tbody tr .open").first().click({ timeout: 20_000 });
  const lines = page.locator(".waterfall > li");
  await lines.filter({ hasText: /redis/ }).first().waitFor({ timeout: 20_000 });
  await page.locator(".waterfall .chip", { hasText: "inferred" }).first().waitFor();
  assert.deepEqual(await accessibility(page), []);
  if (screenshots) await page.screenshot({ path: `${screenshots}/call-light-1280.png` });
  await context.close();
});

await claim("everything can be reached by keys alone", async () => {
  const { page, context, faults } = await open(browser, base, {});
  await page.goto(`${base}/#/services`);
  await shown(page, "nginx");
  const focused = () =>
    page.evaluate(() => {
      const element = document.activeElement;
      const style = getComputedStyle(element);
      return { tag: element.tagName, text: (element.getAttribute("aria-label") ?? element.innerText ?? "").trim(), outline: style.outlineStyle, id: element.id };
    });
  const tabTo = async (text) => {
    for (let step = 0; step < 80; step += 1) {
      await page.keyboard.press("Tab");
      const found = await focused();
      // Behind the last stop, where the browser's own begin.
      if (found.tag === "BODY") continue;
      assert.notEqual(found.outline, "none", `the focus cannot be seen on ${found.text}`);
      if (text.test(found.text)) return;
    }
    assert.fail(`no way by Tab to ${text}`);
  };
  await page.keyboard.press("Tab");
  assert.equal((await focused()).text, "To the content");
  await page.keyboard.press("Enter");
  assert.equal((await focused()).id, "main");
  await tabTo(/^p99/);
  await page.keyboard.press("Enter");
  await page.locator('th[aria-sort="descending"]', { hasText: "p99" }).waitFor();
  await tabTo(/^nginx$/);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "nginx" }).waitFor();
  assert.equal((await focused()).id, "main");
  // The browser's own back button: headless there is no key for it.
  await page.goBack();
  await page.getByRole("heading", { level: 1, name: "Services" }).waitFor();
  assert.match(page.url(), /sort=-p99/);
  await page.goto(`${base}/#/services`);
  await page.reload();
  await shown(page, "nginx");
  await tabTo(/^1 h$/);
  await page.keyboard.press("Enter");
  assert.match(page.url(), /range=1h/);
  await page.keyboard.press("/");
  await page.keyboard.type("ngi");
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
  await page.goto(`${base}/#/topology`);
  await page.reload();
  await shown(page, "Edges, worst first");
  await tabTo(/^Graph of/);
  for (const key of ["+", "ArrowLeft", "-", "0"]) await page.keyboard.press(key);
  await tabTo(/→/);
  await page.keyboard.press("Enter");
  await tabTo(/^Open /);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1 }).waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

await claim("colours are chosen, kept and followed", async () => {
  const { page, context } = await open(browser, base, { scheme: "light" });
  await page.goto(`${base}/#/sees`);
  await shown(page, "What it costs");
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  assert.equal(await theme(), "light");
  await page.emulateMedia({ colorScheme: "dark" });
  await page.waitForFunction(() => document.documentElement.dataset.theme === "dark");
  await page.getByRole("button", { name: /^Colours/ }).click();
  assert.equal(await theme(), "light");
  await page.reload();
  assert.equal(await theme(), "light");
  await context.close();
});

await claim("what is not there says so, and an agent that does not answer is said to, and found again", async () => {
  const { page, context } = await open(browser, base, { expected: () => true });
  await page.goto(`${base}/#/services/nobody-of-that-name`);
  await shown(page, "Nothing of this service in this range");
  await page.goto(`${base}/#/services?range=live`);
  await shown(page, "nginx");
  await context.setOffline(true);
  await shown(page, "The agent does not answer");
  assert.equal(await page.getByRole("link", { name: "nginx", exact: true }).count(), 1, "the last numbers stay");
  await context.setOffline(false);
  await page.getByText("The agent does not answer").waitFor({ state: "detached", timeout: 20_000 });
  await context.close();
});

await browser.close();
console.log(broken.length === 0 ? "all claims hold" : `${broken.length} claims are broken: ${broken.join("; ")}`);
process.exit(broken.length === 0 ? 0 : 1);
