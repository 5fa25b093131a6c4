// Something of the server's that a page shows, and what went wrong when it was asked for.
import { all, call, words } from './client';

export class Held<T> {
  value = $state.raw<T>();
  problem = $state<string>();
  /** How often it was asked for: an answer that was overtaken is not shown. */
  #asked = 0;

  constructor(private readonly get: () => Promise<T>) {}

  /** Asks for it, again after each change. What was there stays when it cannot be had. */
  load = async (): Promise<void> => {
    const turn = ++this.#asked;
    try {
      const value = await this.get();
      if (turn === this.#asked) [this.value, this.problem] = [value, undefined];
    } catch (error) {
      if (turn === this.#asked) this.problem = words(error);
    }
  };

  /** Deletes one of it. A refusal is thrown, for whoever asked whether it should be done. */
  async remove(path: string): Promise<void> {
    await call(path, { method: 'DELETE' });
    await this.load();
  }
}

/** A whole list. */
export const list = <T>(path: string) => new Held(() => all<T>(path));
