// NDJSON as it arrives: whole lines out of chunks that end anywhere.

/** Longest line that is kept; what is longer is skipped and counted. */
export const MAX_LINE = 256 * 1024;

export class Lines {
  #rest = "";
  #skipping = false;
  /** Lines that were too long. */
  skipped = 0;

  /** The lines that this chunk completes. */
  push(chunk: string): string[] {
    const parts = (this.#rest + chunk).split("\n");
    this.#rest = parts.pop() ?? "";
    if (this.#skipping && parts.length > 0) {
      parts.shift();
      this.#skipping = false;
    }
    if (this.#rest.length > MAX_LINE) {
      this.#rest = "";
      this.skipped += this.#skipping ? 0 : 1;
      this.#skipping = true;
    }
    return parts.filter((line) => line.trim() !== "");
  }

  /** The last line, if the stream ends without a line feed. */
  end(): string[] {
    const last = this.#skipping ? "" : this.#rest;
    this.#rest = "";
    return last.trim() === "" ? [] : [last];
  }
}
