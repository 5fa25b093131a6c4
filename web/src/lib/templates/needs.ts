// What a template asks of whoever runs it, and of the server.
import type { System, Template } from '$lib/api/types';
import { variables } from './form';

export function needs(template: Template): string[] {
  const list = [`${template.spec.resources?.memory ?? '512Mi'} memory`];
  const asked = variables(template).filter(([, variable]) => variable.required);
  const secrets = asked.filter(([, variable]) => variable.secret).map(([name]) => name);
  if (secrets.length > 0) list.push(`secret ${secrets.join(', ')}`);
  const plain = asked.filter(([, variable]) => !variable.secret).map(([name]) => name);
  if (plain.length > 0) list.push(plain.join(', '));
  if (template.image === 'required') list.push('an image of yours');
  const isolation = template.spec.security?.isolation ?? 'runc';
  if (isolation !== 'runc') list.push(`isolation ${isolation}`);
  return list;
}

/** Why it cannot run here; nothing when it can, or when nobody knows. */
export function obstacle(template: Template, system?: System): string | undefined {
  const said = (template as { unavailable?: string | null }).unavailable;
  if (said) return said;
  const engine = system?.engine;
  const isolation = template.spec.security?.isolation ?? 'runc';
  return engine && !engine.isolations.includes(isolation)
    ? `the engine of this server, ${engine.name}, does not offer ${isolation}.`
    : undefined;
}
