/**
 * Rules between options. They look at what was parsed, or, where something else is wrong, at what was written, so
 * that a file with one bad option still shows all its problems.
 */
import { formatHostPort, type HostPort, parseHostPort } from '../base/options.ts';
import { type Finding, pathText } from './findings.ts';
import {
  type ConfigSchema,
  defaultHoldDays,
  defaultListen,
  defaultWaitingDays,
  holdBeyondWaitingDays,
  holdDaysMin,
} from './schema.ts';
import { isRecord, mapOptions, type Path, valueAt } from './walk.ts';

export function acrossFields(schema: ConfigSchema, tree: unknown): Finding[] {
  return [
    ...sameNames(tree, 'sources'),
    ...sameNames(tree, 'producers'),
    ...selfSucceeding(tree),
    ...samePorts(schema, tree),
    ...shortHold(tree),
  ];
}

function sameNames(tree: unknown, list: 'sources' | 'producers'): Finding[] {
  const entries = valueAt(tree, [list]);
  if (!Array.isArray(entries)) return [];
  const names = entries.map((entry: unknown) => valueAt(entry, ['name']));
  return names.flatMap((name, index) => {
    const first = names.indexOf(name);
    if (typeof name !== 'string' || first === index) return [];
    return [{ path: [list, index, 'name'], rule: `expected a name of its own; ${list}[${first}] has this one` }];
  });
}

function selfSucceeding(tree: unknown): Finding[] {
  const entries = valueAt(tree, ['sources']);
  if (!Array.isArray(entries)) return [];
  const names = entries.map((entry: unknown) => valueAt(entry, ['name']));
  return entries.flatMap((entry: unknown, index) => {
    const old = valueAt(entry, ['succeeds']);
    if (old === undefined || !names.includes(old)) return [];
    return [
      { path: ['sources', index, 'succeeds'], rule: 'expected the name of a source that is no longer configured' },
    ];
  });
}

interface Listening {
  readonly path: Path;
  readonly address: HostPort;
}

function samePorts(schema: ConfigSchema, tree: unknown): Finding[] {
  const listening: Listening[] = [];
  mapOptions(schema, tree, (trait, value, path) => {
    const address = trait === 'listen' ? addressOf(value) : undefined;
    if (address) listening.push({ path, address });
    return value;
  });
  // Defaults first: the port to change is the one that stands in the file.
  const all = [...unwritten(tree), ...listening];
  return all.flatMap(({ path, address }, index) => {
    const other = all.slice(0, index).find((earlier) => collide(earlier.address, address));
    if (!other) return [];
    const rule = `expected a port of its own; ${pathText(other.path)} listens on ${formatHostPort(other.address)}`;
    return [{ path, rule, hidesValue: true }];
  });
}

/** What listens by default and does not stand in the tree: it was written, and something in it is wrong. */
function unwritten(tree: unknown): Listening[] {
  const paths = [
    { path: ['console', 'listen'], text: defaultListen.console },
    { path: ['health', 'metrics'], text: defaultListen.metrics },
  ];
  return paths.flatMap(({ path, text }) => {
    const address = valueAt(tree, path) === undefined ? parseHostPort(text) : undefined;
    return address ? [{ path, address }] : [];
  });
}

function addressOf(value: unknown): HostPort | undefined {
  if (typeof value === 'string') return parseHostPort(value);
  if (!isRecord(value)) return undefined;
  const { host, port } = value;
  return typeof host === 'string' && typeof port === 'number' ? { host, port } : undefined;
}

/** The same port on the same address, or on one that means every address. */
function collide(a: HostPort, b: HostPort): boolean {
  const everywhere = ['0.0.0.0', '::'];
  return (
    a.port !== 0 &&
    a.port === b.port &&
    (a.host === b.host || [a.host, b.host].some((host) => everywhere.includes(host)))
  );
}

function shortHold(tree: unknown): Finding[] {
  const waitingDays = numberAt(tree, ['register', 'waitingDays'], defaultWaitingDays);
  const days = numberAt(tree, ['hold', 'days'], defaultHoldDays);
  const daysMin = waitingDays + holdBeyondWaitingDays;
  // Below the lowest of all the schema has said so already.
  if (days >= daysMin || days < holdDaysMin) return [];
  const rule = `expected at least ${daysMin} days (register.waitingDays ${waitingDays} + ${holdBeyondWaitingDays})`;
  return [{ path: ['hold', 'days'], rule: `${rule}, got ${days}`, hidesValue: true }];
}

function numberAt(tree: unknown, path: Path, fallback: number): number {
  const value = valueAt(tree, path);
  return typeof value === 'number' ? value : fallback;
}
