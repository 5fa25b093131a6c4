// The wire types, by the names that they have in `openapi.json`.
import type { components } from './schema';

type Schemas = components['schemas'];

export type Instance = Schemas['Instance'];
export type InstanceRequest = Partial<Schemas['InstanceRequest']>;
export type State = Schemas['State'];
export type Progress = Schemas['Progress'];
export type Template = Schemas['Template'];
export type TemplateCheck = Schemas['TemplateCheck'];
export type Variable = Schemas['Variable'];
export type LogLine = Schemas['LogLine'];
export type FileEntry = Schemas['FileEntry'];
export type Stats = Schemas['Stats'];
export type PortInfo = Schemas['PortInfo'];
export type Event = Schemas['Event'];
export type User = Schemas['User'];
export type Session = Schemas['Session'];
export type Token = Schemas['Token'];
export type CreatedToken = Schemas['CreatedToken'];
export type LoginLink = Schemas['LoginLink'];
export type Project = Schemas['Project'];
export type Member = Schemas['Member'];
export type Role = Schemas['Role'];
export type Network = Schemas['Network'];
export type ProjectEnv = Schemas['ProjectEnv'];
export type ProjectQuotas = Schemas['ProjectQuotas'];
export type Registry = Schemas['Registry'];
export type System = Schemas['System'];
export type Deployment = Schemas['Deployment'];
export type DeploymentLine = Schemas['DeploymentLine'];
export type DeploymentState = Schemas['DeploymentState'];
export type Revision = Schemas['Page_Revision']['items'][number];
export type RevisionState = Schemas['RevisionState'];
export type Balance = Schemas['Balance'];
export type BillingSettings = Schemas['BillingSettings'];
export type LedgerLine = Schemas['LedgerLine'];
export type Invoice = Schemas['Invoice'];
export type UsageSum = Schemas['UsageSum'];
export type Cap = Schemas['Page_Cap']['items'][number];
export type Spend = Schemas['Spend'];
export type Period = Schemas['Period'];
export type Suspension = Schemas['Suspension'];
export type Domain = Schemas['Page_Domain']['items'][number];
export type DomainState = Schemas['DomainState'];
export type DnsRecord = Schemas['DnsRecord'];
export type Price = Schemas['Price'];
export type Rates = Schemas['Rates'];
export type Prices = Schemas['Prices'];
export type Key = Schemas['Key'];
export type Problem = Schemas['Problem'];
export type Scope = Schemas['Scope'];

export interface Page<T> {
  items: T[];
  next?: string | null;
}
