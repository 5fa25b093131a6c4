// The time, for all that is shown as "a minute ago": one timer for the whole page.
class Now {
  ms = $state(Date.now());
}

export const now = new Now();

setInterval(() => (now.ms = Date.now()), 1000);
