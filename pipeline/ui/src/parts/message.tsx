// What is said where there are no numbers: what is the matter, and what to do.

import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";
import { type ApiError, keepToken } from "../api/client";
import type { Answer } from "../state";

export function Message({ title, children }: { title: string; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="message">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

function TokenForm({ again }: { again: () => void }): JSX.Element {
  const [value, set] = useState("");
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        keepToken(value.trim());
        again();
      }}
    >
      <label class="field">
        Bearer token
        <input
          class="input"
          type="password"
          autocomplete="off"
          value={value}
          onInput={(event) => set(event.currentTarget.value)}
        />
      </label>
      <button type="submit" class="button main">
        Use it
      </button>
    </form>
  );
}

/** A failure in full, where there is nothing else to show. */
export function Failure({ error, again }: { error: ApiError; again: () => void }): JSX.Element {
  switch (error.trouble) {
    case "gone":
      return (
        <Message title="The agent does not answer">
          <p>
            It may have been stopped, or the connection to it is cut. Look at its log. This page tries again by itself.
          </p>
          <button type="button" class="button" onClick={again}>
            Try now
          </button>
        </Message>
      );
    case "token":
      return (
        <Message title="This agent wants a token">
          <p>
            It is what <code>http.token</code> says in the agent’s configuration. It is kept until this tab is closed; opening{" "}
            <code>/?token=…</code> once makes this browser remember it. ({error.message})
          </p>
          <TokenForm again={again} />
        </Message>
      );
    case "busy":
      return (
        <Message title="The agent is busy">
          <p>{error.message}. This page tries again by itself; other pages or scripts may be asking as well.</p>
        </Message>
      );
    case "not-ready":
      return (
        <Message title="The agent is not ready yet">
          <p>
            It is still attaching its probe: {error.message}. This takes seconds; if it does not end,{" "}
            <code>redtap doctor</code> says what this machine lacks.
          </p>
        </Message>
      );
    case "not-found":
    case "absent":
      return (
        <Message title="Nothing to show here">
          <p>{error.message}</p>
        </Message>
      );
    case "refused":
      return (
        <Message title="The agent could not answer">
          <p>{error.message}</p>
          <button type="button" class="button" onClick={again}>
            Try again
          </button>
        </Message>
      );
  }
}

/** The same as one line, over the last numbers that there were. */
export function Stale({ answer }: { answer: Answer<unknown> }): JSX.Element | null {
  if (!answer.error || answer.data === null) return null;
  const since = answer.at === null ? "" : ` Shown is what it said at ${new Date(answer.at * 1000).toLocaleTimeString("en-GB")}.`;
  return (
    <div class="banner warn" role="status">
      <b>{answer.error.trouble === "gone" ? "The agent does not answer." : `No new numbers: ${answer.error.message}.`}</b>
      <span>{since} Trying again.</span>
    </div>
  );
}

/** Either the last answer, or why there is none, or that it is awaited. */
export function Shown<T>(props: { answer: Answer<T>; again: () => void; children: (data: T) => ComponentChildren }): JSX.Element {
  const { answer, again, children } = props;
  if (answer.data !== null)
    return (
      <>
        <Stale answer={answer} />
        {children(answer.data)}
      </>
    );
  if (answer.error) return <Failure error={answer.error} again={again} />;
  return (
    <p class="message quiet" role="status">
      Loading…
    </p>
  );
}
