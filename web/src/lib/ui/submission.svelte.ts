// What every form and button that asks the server for something has: whether it is under way, and what the server said
// against it, at the field that it meant.
import { Refused, words } from '$lib/api/client';

export class Submission {
  busy = $state(false);
  #refused = $state<{ field?: string | null; words: string }>();

  /** `fields` are those that show their own refusal. */
  constructor(private readonly fields: string[] = []) {}

  /** What was said against one field. */
  against(field: string): string | undefined {
    return this.#refused?.field === field ? this.#refused.words : undefined;
  }

  /** What was said against none of the fields. */
  get problem(): string | undefined {
    return this.#refused && !this.fields.includes(this.#refused.field ?? '')
      ? this.#refused.words
      : undefined;
  }

  /** For what is begun anew. */
  forget() {
    this.#refused = undefined;
  }

  /** Runs `act`, once at a time; whether it went well. */
  async run(act: () => Promise<unknown>): Promise<boolean> {
    if (this.busy) return false;
    this.busy = true;
    this.#refused = undefined;
    try {
      await act();
      return true;
    } catch (error) {
      this.#refused = { field: error instanceof Refused ? error.problem.field : null, words: words(error) };
      return false;
    } finally {
      this.busy = false;
    }
  }
}
