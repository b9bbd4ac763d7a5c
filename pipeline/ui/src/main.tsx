// Where the page begins.

import { render } from "preact";
import "./styles/tokens.css";
import "./styles/app.css";
import { App } from "./app";
import { followTheme } from "./state";

followTheme();
const place = document.getElementById("app");
if (place) render(<App />, place);
