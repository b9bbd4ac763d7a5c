import { defineConfig } from "vitest/config";

/** Where a running agent answers while `npm run dev` serves the pages. */
const agent = "http://127.0.0.1:9464";

export default defineConfig({
  base: "/",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: { host: "127.0.0.1", proxy: { "/api": agent, "/metrics": agent } },
  build: {
    target: "es2022",
    // One script and one style sheet: a page of a few dozen kilobytes gains nothing from being cut up.
    cssCodeSplit: false,
    modulePreload: false,
    assetsInlineLimit: 0,
    sourcemap: false,
    reportCompressedSize: true,
  },
  test: { environment: "node", include: ["src/**/*.test.ts"] },
});
