// Looking again and again at something that the server has.

/**
 * One look at a time, so that an older answer never comes after a newer one; and none is lost: what is asked for while
 * one is under way is done after it. Many that are asked for at once are one look.
 */
export class Looks {
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the next one is due, in the clock's milliseconds. */
  #due = Infinity;
  #running: Promise<void> | undefined;
  #stopped = false;

  /** `look` says after how many milliseconds it wants to be done again if nobody asks; never, when it says nothing. */
  constructor(private readonly look: () => Promise<number | undefined>) {}

  /** Looks in so many milliseconds, unless one is due sooner. */
  soon(after: number) {
    const due = Date.now() + after;
    if (this.#stopped || due >= this.#due) return;
    this.#due = due;
    if (!this.#running) this.#arm();
  }

  /** Resolves when a look that began after this call has ended. */
  now(): Promise<void> {
    return this.#running ? this.#running.then(() => this.#running ?? this.#run()) : this.#run();
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #arm() {
    clearTimeout(this.#timer);
    if (this.#due < Infinity) {
      this.#timer = setTimeout(() => void this.#run(), Math.max(this.#due - Date.now(), 0));
    }
  }

  #run(): Promise<void> {
    clearTimeout(this.#timer);
    this.#due = Infinity;
    this.#running = this.look().then((again) => {
      this.#running = undefined;
      if (again !== undefined) this.soon(again);
      if (!this.#stopped) this.#arm();
    });
    return this.#running;
  }
}
