// Figures and times as people read them.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

export function bytes(count: number): string {
  let unit = 0;
  let value = count;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

export function percent(value: number): string {
  return `${value >= 10 ? Math.round(value) : value.toFixed(1)} %`;
}

const whole = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 0 });

/** An amount of satoshis, with its thousands apart. */
export const sats = (amount: number) => `${whole.format(amount).replace('-', '−')} sat`;

/** A figure of any size, with three digits that matter. */
export const figure = (value: number) =>
  value >= 100 ? whole.format(value) : String(Number(value.toPrecision(3)));

/** A count, with its thousands apart. */
export const count = (value: number) => whole.format(value);

/** What somebody typed into one field as a list: apart by spaces, commas or lines. */
export const entries = (text: string): string[] => text.split(/[\s,]+/).filter(Boolean);

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
];

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

/** "5 minutes ago", "in 3 days"; "just now" within five seconds. */
export function ago(at: number, now: number): string {
  const seconds = Math.round((at - now) / 1000);
  if (Math.abs(seconds) < 5) return 'just now';
  const [unit, size] = STEPS.find(([, size]) => Math.abs(seconds) >= size) ?? ['second', 1];
  // What has passed counts when it is whole; what is to come is said as it was asked for.
  const count = seconds / size;
  return relative.format(count < 0 ? Math.trunc(count) : Math.round(count), unit);
}

export function moment(at: number): string {
  return new Date(at).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });
}

/** Time of day with milliseconds, for log lines. */
export function clock(at: number): string {
  const time = new Date(at);
  const pad = (n: number, width = 2) => String(n).padStart(width, '0');
  return `${pad(time.getHours())}:${pad(time.getMinutes())}:${pad(time.getSeconds())}.${pad(time.getMilliseconds(), 3)}`;
}

/** A path that this server may be returned to: our own, and no way out of our origin. */
export function localPath(path: string | null): string {
  return path && path.length <= 4096 && /^\/(?!\/)[\x21-\x5b\x5d-\x7e]*$/.test(path) ? path : '/';
}
