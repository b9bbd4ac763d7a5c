// Every page of a real agent in a real browser: `node pages.mjs BASE [SCREENSHOTS]`, started by e2e/tests/ui.rs, which also
// makes the traffic: nginx (with /broken answering 500), and an application that asks Redis (with /report taking long). It
// says on standard output what it wants done ("please traffic"; "please fail", which goes on until "please recover") and goes
// on when a line comes back. Ends with status 1 and a line for each claim that does not hold.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { accessibility, cut, open, overflow, start } from "./browser.mjs";

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
  ["alarms", "#/alarms", "Nothing fires"],
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

/** Asks again until it holds: what the page shows is renewed every few seconds. */
async function eventually(proof, within = 25_000) {
  for (const end = Date.now() + within; ; ) {
    try {
      return await proof();
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((wake) => setTimeout(wake, 500));
    }
  }
}

/** What has the focus, and the way to something by Tab alone. */
function keys(page) {
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
  return { focused, tabTo };
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
      assert.deepEqual(await cut(page), []);
    });
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

await claim("a table of two hundred rows is there whole, and has its lines where it is looked at", async () => {
  const { page, context, faults } = await open(browser, base);
  // What the agent says of one service, two hundred times over.
  await page.route(/\/api\/v1\/services\?/, async (route) => {
    const response = await route.fetch();
    const json = await response.json();
    const one = json.services.find(({ service }) => service === "nginx");
    json.services = Array.from({ length: 200 }, (_, at) => ({ ...one, service: `copy-${String(at).padStart(3, "0")}` }));
    await route.fulfill({ response, json });
  });
  await page.goto(`${base}/#/services`);
  const whole = (rows) => page.waitForFunction((rows) => document.querySelectorAll("tbody tr").length === rows, rows, { timeout: 30_000 });
  const lines = (of) => of.locator(".spark path").count();
  await whole(200);
  await eventually(async () => {
    const drawn = await lines(page.locator("tbody"));
    // Two paths a line, three lines a row.
    assert.ok(drawn > 0 && drawn < 600, `${drawn} of 1200 are drawn`);
  });
  await page.keyboard.press("/");
  await page.keyboard.type("copy-00");
  await whole(10);
  await page.getByLabel("Filter services").fill("");
  await whole(200);
  assert.equal(await lines(page.locator("tbody tr").last()), 0);
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
  await eventually(async () => assert.ok((await lines(page.locator("tbody tr").last())) > 0, "no lines at the end"));
  assert.deepEqual(faults, []);
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
  const { focused, tabTo } = keys(page);
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

/** What the agent says of its alarms. */
async function told() {
  return (await fetch(`${base}/api/v1/alarms`)).json();
}

/** Day and time as the page says them, in the browser's own time zone. */
function moment(page, seconds) {
  return page.evaluate(
    (at) => new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" }).format(at * 1000),
    seconds,
  );
}

function value({ value, unit }) {
  assert.ok(unit === "ratio" || unit === "seconds", `an unknown unit: ${unit}`);
  const [number, word] = unit === "ratio" ? [value * 100, "%"] : value < 1 ? [value * 1000, "ms"] : [value, "s"];
  return `${Number(number.toPrecision(3))} ${word}`;
}

function lasted(seconds) {
  const [minutes, rest] = [Math.floor(seconds / 60), seconds % 60];
  return minutes === 0 ? `${rest} s` : rest === 0 ? `${minutes} min` : `${minutes} min ${rest} s`;
}

const firing = (page, name) => page.getByRole("region", { name: "Firing" }).locator("li").filter({ hasText: name });
const badge = (page, count) => page.getByRole("link", { name: count === 0 ? /^Alarms$/ : new RegExp(`^Alarms ?${count} firing$`) }).waitFor({ timeout: 25_000 });

await claim("alarms that fire are shown as the agent says them", async () => {
  const { page, context, faults } = await open(browser, base);
  await page.goto(`${base}/#/alarms`);
  await please("fail");
  await eventually(async () => assert.equal((await told()).firing.length, 2), 60_000);
  await eventually(async () => {
    const said = (await told()).firing;
    const bySeverity = Object.fromEntries(said.map((alarm) => [alarm.severity, `${alarm.name} ${alarm.service} ${alarm.unit}`]));
    assert.deepEqual(bySeverity, { critical: "PageFails nginx ratio", warning: "ShopSlow shop.py seconds" });
    assert.equal(await page.getByRole("region", { name: "Firing" }).locator("li").count(), said.length);
    for (const alarm of said) {
      const text = (await firing(page, alarm.name).innerText()).replace(/\s+/g, " ");
      const parts = [alarm.severity, alarm.service, alarm.annotations.summary, alarm.annotations.description];
      for (const part of [...parts, `value ${value(alarm)}`, `since ${await moment(page, alarm.since)} (`]) {
        assert.ok(text.includes(part), `"${part}" is not in "${text}"`);
      }
    }
    const [fails] = said.filter(({ name }) => name === "PageFails");
    assert.equal(fails.labels.endpoint, "/broken");
    assert.match(await firing(page, "PageFails").innerText(), /endpoint \/broken/);
  });
  await eventually(async () => assert.equal(await metric("redtap_alarms", ['state="firing"']), 2));
  await badge(page, 2);
  await firing(page, "ShopSlow").getByRole("link", { name: "shop.py" }).click();
  await page.getByRole("heading", { level: 1, name: "shop.py" }).waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

await claim("an alarm is silenced and its silence ended by keys alone, in this browser alone", async () => {
  const { page, context, faults } = await open(browser, base);
  const { focused, tabTo } = keys(page);
  const names = async () => (await page.getByRole("region", { name: "Firing" }).locator("h3").allInnerTexts()).map((text) => text.split(" ")[0]);
  await page.goto(`${base}/#/alarms`);
  await firing(page, "PageFails").waitFor();
  await badge(page, 2);
  await tabTo(/^Silence 1 h: PageFails, nginx, GET \/broken/);
  await page.keyboard.press("Enter");
  const until = Date.now() / 1000 + 3600;
  // The alarm moves below those that are not silenced, and the keyboard with it.
  assert.match((await focused()).text, /^End silence: PageFails, nginx/);
  const silenced = async () => {
    await firing(page, "PageFails").getByText("silenced here").waitFor();
    assert.deepEqual(await names(), ["ShopSlow", "PageFails"]);
    assert.equal(await page.getByText("silenced here").count(), 1);
    const text = await firing(page, "PageFails").innerText();
    const [before, after] = [await moment(page, until - 30), await moment(page, until)];
    assert.ok(text.includes(`until ${before}`) || text.includes(`until ${after}`), `${text} ends neither at ${before} nor ${after}`);
    await badge(page, 1);
  };
  await silenced();
  await page.reload();
  await silenced();
  assert.deepEqual((await told()).firing.map((alarm) => alarm.silenced_until), [null, null]);
  const other = await open(browser, base);
  await other.page.goto(`${base}/#/alarms`);
  await firing(other.page, "PageFails").waitFor();
  assert.equal(await other.page.getByText("silenced here").count(), 0);
  await other.context.close();
  await tabTo(/^End silence: PageFails, nginx/);
  await page.keyboard.press("Enter");
  assert.match((await focused()).text, /^Silence 1 h: PageFails, nginx/);
  assert.equal(await page.getByText("silenced here").count(), 0);
  await badge(page, 2);
  await page.reload();
  await firing(page, "PageFails").waitFor();
  assert.equal(await page.getByText("silenced here").count(), 0);
  assert.deepEqual(faults, []);
  await context.close();
});

/** The page with something on it, in all sizes and colours. */
async function alarmsIn(state, prepare) {
  for (const [scheme, width, height] of SIZES) {
    await claim(`alarms, ${state}, ${scheme}, ${width} wide: accessible, no wider than the window`, async () => {
      const { page, context, faults } = await open(browser, base, { scheme, width, height });
      await page.goto(`${base}/#/alarms`);
      await prepare(page);
      assert.deepEqual(await accessibility(page), []);
      assert.ok((await overflow(page)) <= 0, `wider than its window by ${await overflow(page)} px`);
      assert.deepEqual(await cut(page), []);
      await page.mouse.move(0, 0);
      if (screenshots) await page.screenshot({ path: `${screenshots}/alarms-${state}-${scheme}-${width}.png` });
      assert.deepEqual(faults, []);
      await context.close();
    });
  }
}

await alarmsIn("firing", async (page) => {
  await firing(page, "ShopSlow").getByRole("button", { name: /^Silence 8 h/ }).click();
  await firing(page, "ShopSlow").getByText("silenced here").waitFor();
  await badge(page, 1);
});

await claim("alarms that are over are in the history, with their end", async () => {
  const { page, context, faults } = await open(browser, base);
  await page.goto(`${base}/#/alarms`);
  await firing(page, "PageFails").waitFor();
  await please("recover");
  await eventually(async () => assert.deepEqual([(await told()).firing.length, (await told()).history.length], [0, 2]), 60_000);
  await shown(page, "Nothing fires");
  for (const alarm of (await told()).history) {
    assert.ok(alarm.until > alarm.since, `${alarm.name} ended at ${alarm.until}, began at ${alarm.since}`);
    const cells = await row(page, new RegExp(alarm.name));
    assert.match(cells.Alarm, new RegExp(`^${alarm.name}\\s+${alarm.annotations.summary}$`));
    const { Severity, Service, Value, Began, Ended, Lasted } = cells;
    assert.deepEqual(
      { Severity, Service, Value, Began, Ended, Lasted },
      {
        Severity: alarm.severity,
        Service: alarm.service,
        Value: value(alarm),
        Began: await moment(page, alarm.since),
        Ended: await moment(page, alarm.until),
        Lasted: lasted(alarm.until - alarm.since),
      },
    );
  }
  await eventually(async () => assert.equal(await metric("redtap_alarms", ['state="firing"']), 0));
  await badge(page, 0);
  assert.deepEqual(faults, []);
  await context.close();
});

await alarmsIn("over", (page) => page.getByRole("rowheader", { name: /PageFails/ }).waitFor());

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

// Last, so that there is something to see: by now minutes of traffic.
if (screenshots) {
  for (const [scheme, width, height] of SIZES) {
    const { page, context } = await open(browser, base, { scheme, width, height });
    for (const [name, hash, text] of PAGES) {
      await page.goto(`${base}/${hash}?range=live`);
      await shown(page, text);
      // Lines are drawn, and calls come, behind the first frame.
      await page.waitForTimeout(1_500);
      await page.screenshot({ path: `${screenshots}/${name}-${scheme}-${width}.png` });
    }
    await context.close();
  }
}

await browser.close();
console.log(broken.length === 0 ? "all claims hold" : `${broken.length} claims are broken: ${broken.join("; ")}`);
process.exit(broken.length === 0 ? 0 : 1);
