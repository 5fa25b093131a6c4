// From the fields of the form to the request, and from a refused field back to where it stands in the form.
import type { InstanceRequest, Template, Variable } from '$lib/api/types';

/** What the form holds, as text. */
export interface Fields {
  name: string;
  project: string;
  image: string;
  cpus: string;
  memory: string;
  ports: string;
  env: string;
  variables: Record<string, string>;
}

export const variables = (template: Template): [string, Variable][] =>
  Object.entries(template.variables ?? {}).sort(
    ([a, x], [b, y]) => Number(y.required ?? false) - Number(x.required ?? false) || a.localeCompare(b),
  );

export function empty(template: Template): Fields {
  const filled = variables(template).map(([name, variable]) => [name, variable.default ?? '']);
  return {
    name: '',
    project: '',
    image: '',
    cpus: '',
    memory: '',
    ports: '',
    env: '',
    variables: Object.fromEntries(filled),
  };
}

/** A field that cannot be sent as it is; `field` is named as the server names it. */
export class Malformed extends Error {
  constructor(
    readonly field: string,
    message: string,
  ) {
    super(message);
  }
}

/** "3000, ssh:22/tcp": a number, or a name and a number; the first is the gateway's. */
export function ports(text: string) {
  return text
    .split(/[\s,]+/)
    .filter(Boolean)
    .map((word, at) => {
      const parts = /^(?:([a-z][a-z0-9-]*):)?(\d{1,5})(?:\/(tcp|http))?$/.exec(word);
      const port = Number(parts?.[2]);
      if (!parts || port < 1 || port > 65_535) {
        throw new Malformed(
          'ports',
          `"${word}" is no port; write 3000, or a name and a port as in ssh:22/tcp`,
        );
      }
      const protocol = (parts[3] ?? 'http') as 'http' | 'tcp';
      return { name: parts[1] ?? (at === 0 ? 'http' : `port-${port}`), port, protocol };
    });
}

/** `NAME=value` lines. */
export function environment(text: string): Record<string, string> {
  const env: Record<string, string> = {};
  for (const line of text.split('\n').filter((line) => line.trim())) {
    const at = line.indexOf('=');
    if (at < 1) throw new Malformed('env', `"${line.trim()}" is not of the form NAME=value`);
    env[line.slice(0, at).trim()] = line.slice(at + 1);
  }
  return env;
}

/** What is left empty is left out: the server has defaults for all of it, and makes what is to be generated. */
export function request(template: Template, fields: Fields): InstanceRequest {
  const text = (value: string) => value.trim() || undefined;
  const env = environment(fields.env);
  const secrets: Record<string, string> = {};
  for (const [name, variable] of variables(template)) {
    const value = fields.variables[name] ?? '';
    if (value === '') continue;
    if (variable.secret) secrets[name] = value;
    else env[name] = value;
  }
  const opened = ports(fields.ports);
  return {
    template: template.name,
    name: text(fields.name),
    project: text(fields.project),
    image: text(fields.image),
    cpus: text(fields.cpus),
    memory: text(fields.memory),
    ports: opened.length > 0 ? opened : undefined,
    env: Object.keys(env).length > 0 ? env : undefined,
    secret_env: Object.keys(secrets).length > 0 ? secrets : undefined,
  };
}

/** The field of the form that a problem's `field` means; nothing when the form has none like it. */
export function place(template: Template, field: string | null | undefined): string | undefined {
  if (!field) return undefined;
  const variable = /^(?:secret_)?env\.(.+)$/.exec(field)?.[1];
  if (variable && template.variables?.[variable]) return variable;
  const own = /^[a-z]+/.exec(field)?.[0] ?? '';
  return ['name', 'project', 'image', 'cpus', 'memory', 'ports', 'env'].includes(own) ? own : undefined;
}
