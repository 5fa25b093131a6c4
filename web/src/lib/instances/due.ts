// Which instances have to be looked at again: a few by id, or all. Many events about one instance are one look.

const MANY = 8;

export class Due {
  #ids = new Set<string>();
  #all = false;

  /** One, or without an id all. */
  add(id?: string) {
    if (id === undefined) this.#all = true;
    else this.#ids.add(id);
  }

  get empty() {
    return !this.#all && this.#ids.size === 0;
  }

  /** Takes what is due. Many single looks cost more than one at the list. */
  take(): 'all' | string[] {
    const due = this.#all || this.#ids.size > MANY ? 'all' : [...this.#ids];
    this.#ids.clear();
    this.#all = false;
    return due;
  }
}
