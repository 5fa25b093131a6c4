// The newest lines of a log, bounded. A stream that is taken up again begins at a time, and tells the lines of that
// very millisecond again; those are dropped.
import type { LogLine } from '$lib/api/types';

export const MOST = 5000;

export interface Line extends LogLine {
  /** Grows with each line, for ever. */
  number: number;
}

// eslint-disable-next-line no-control-regex
const ESCAPES = /\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])/g;

/** A line without the escape sequences by which a terminal would be coloured. */
export const plain = (text: string) => text.replace(ESCAPES, '');

export class LogBuffer {
  #lines: Line[] = [];
  #next = 0;
  #lastAt = 0;
  /** Lines of the millisecond `lastAt` that are here. */
  #ofLast = 0;
  #skip = 0;

  /** Where a new connection should begin. */
  get since(): number | undefined {
    return this.#next > 0 ? this.#lastAt : undefined;
  }

  /** A new connection begins at `since`. */
  resumed() {
    this.#skip = this.#ofLast;
  }

  add(line: LogLine) {
    if (this.#skip > 0 && line.at === this.#lastAt) {
      this.#skip -= 1;
      return;
    }
    this.#skip = 0;
    this.#ofLast = line.at === this.#lastAt ? this.#ofLast + 1 : 1;
    this.#lastAt = line.at;
    this.#lines.push({ ...line, text: plain(line.text), number: this.#next++ });
    // Cut rarely: moving thousands of lines for each new one would cost more than they are worth.
    if (this.#lines.length > MOST + 500) this.#lines.splice(0, this.#lines.length - MOST);
  }

  clear() {
    this.#lines = [];
  }

  /** A copy, to be shown. */
  get lines(): Line[] {
    return this.#lines.slice(-MOST);
  }
}
