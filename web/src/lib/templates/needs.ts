// What a template asks of whoever runs it, and of the server.
import type { Template } from '$lib/api/types';
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
