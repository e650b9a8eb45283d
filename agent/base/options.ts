/**
 * The kinds of value a configuration option can have. Each is one parser, a plain function that the command line uses
 * too, and one zod schema around it whose message is the rule in words: "expected a duration such as 30s, 96h, 10y".
 *
 * What comes out has one unit each: a duration is milliseconds, a size is bytes, a bandwidth is bytes a second.
 */
import { isIP } from 'node:net';
import { validate as isCron } from 'node-cron';
import { z } from 'zod';

/**
 * Marks schemas whose value means more than its text: a path is made absolute against the configuration's folder, an
 * address listened on must be the only one of its port, a secret is never shown.
 */
export const optionTraits = z.registry<{ readonly kind: 'path' | 'listen' | 'secret' }>();

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

const secondMs = 1000;
const dayMs = 86_400 * secondMs;

/** A year is 366 days: what must be kept for ten years is never let go a day early. */
const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: secondMs,
  m: 60 * secondMs,
  h: 3600 * secondMs,
  d: dayMs,
  w: 7 * dayMs,
  y: 366 * dayMs,
};

/** `30s`, `96h`, `10y` in milliseconds. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,9})(ms|s|m|h|d|w|y)$/.exec(text);
  const unit = durationUnits[match?.[2] ?? ''];
  return unit === undefined ? undefined : Number(match?.[1]) * unit;
}

const sizeUnits: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** `512`, `20M`, `4GiB` in bytes; K, M, G and T are powers of 1024, with or without `iB`. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d{1,9})(?:([KMGT])(?:iB)?)?$/.exec(text);
  const unit = sizeUnits[match?.[2] ?? ''];
  return match && unit ? Number(match[1]) * unit : undefined;
}

/** `127.0.0.1:2575`, `[::1]:2575`, `pacs.example:104`. The host is never left out: that would mean every address. */
export function parseHostPort(text: string): HostPort | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]{1,253})):(\d{1,5})$/.exec(text);
  if (!match) return undefined;
  const port = Number(match[3]);
  const host = match[1] ?? match[2] ?? '';
  const isKnown = match[1] === undefined ? isHostName(host) : isIP(host) === 6;
  return isKnown && port <= 65_535 ? { host, port } : undefined;
}

export function formatHostPort({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Names of this machine to itself: nobody else can reach what listens there. */
export function isLoopback(host: string): boolean {
  return host === '127.0.0.1' || host === '::1' || host === 'localhost';
}

/** An IPv4 address or a name; a name of digits and dots only is a mistyped address, not a name. */
function isHostName(host: string): boolean {
  if (/^[0-9.]+$/.test(host)) return isIP(host) === 4;
  return host.split('.').every((label) => /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(label));
}

/** Five fields, minute to day of week. node-cron knows a sixth for seconds, which no poll of a hospital should use. */
export function isSchedule(text: string): boolean {
  return text.trim().split(/\s+/).length === 5 && isCron(text);
}

/** Milliseconds, within `min` and `max` where given. */
export function duration(range: { min?: string; max?: string } = {}) {
  return z
    .string('expected a duration such as 30s, 96h, 10y')
    .transform(parsed(parseDuration, 'expected a duration such as 30s, 96h, 10y', rangeOf(range, parseDuration)));
}

/** Bytes, within `min` and `max` where given. */
export function size(range: { min?: string; max?: string } = {}) {
  const parse = (value: string | number) => parseSize(String(value));
  return z
    .union([z.int(), z.string()], 'expected a size such as 512K, 20M, 4GiB')
    .transform(parsed(parse, 'expected a size such as 512K, 20M, 4GiB', rangeOf(range, parseSize)));
}

/** An address to listen on; port 0 lets the system choose. */
export function listenAddress() {
  const rule = 'expected an address and a port such as 127.0.0.1:2575 or [::1]:0';
  return z.string(rule).transform(parsed(parseHostPort, rule)).register(optionTraits, { kind: 'listen' });
}

/** An address of this machine itself, for what asks nobody who they are. */
export function loopbackAddress() {
  const rule =
    'expected 127.0.0.1, [::1] or localhost and a port: it asks for no password; other machines use a tunnel';
  const parse = (text: string) => {
    const address = parseHostPort(text);
    return address && isLoopback(address.host) ? address : undefined;
  };
  return z.string(rule).transform(parsed(parse, rule)).register(optionTraits, { kind: 'listen' });
}

/** An address to connect to: as above, without port 0. */
export function remoteAddress() {
  const rule = 'expected a host and a port such as 10.1.2.3:104';
  const parse = (text: string) => {
    const address = parseHostPort(text);
    return address?.port === 0 ? undefined : address;
  };
  return z.string(rule).transform(parsed(parse, rule));
}

/** A cron expression of five fields, Asia/Tokyo. */
export function schedule() {
  const rule = 'expected a cron expression of five fields such as "*/10 * * * *"';
  return z.string(rule).refine(isSchedule, rule);
}

/** A path; what is relative is relative to the configuration file. */
export function filePath() {
  return z.string('expected a path').min(1, 'expected a path').register(optionTraits, { kind: 'path' });
}

/** A secret by reference. Written out in the file it would be in every backup and every mail that carries the file. */
export function secret() {
  const rule = 'expected a reference, {file: PATH}, {credential: NAME} or {env: NAME}; a secret is never written here';
  return z
    .union([inFile(), inCredential(), z.strictObject({ env: referenceName() })], rule)
    .register(optionTraits, { kind: 'secret' });
}

/** The same for a key: not from the environment, which too many can read. */
export function keyReference() {
  const rule = 'expected a reference, {file: PATH} or {credential: NAME}; a key is never written here';
  return z.union([inFile(), inCredential()], rule).register(optionTraits, { kind: 'secret' });
}

const inFile = () => z.strictObject({ file: filePath() });
const inCredential = () => z.strictObject({ credential: referenceName() });
const referenceName = () => z.string().regex(/^[A-Za-z_][\w.-]{0,127}$/, 'expected a name of letters, digits, _ . -');

/** The name of a source or a producer: it appears in logs, metrics and file names. */
export function configName() {
  return z
    .string('expected a name')
    .regex(/^[a-z][a-z0-9-]{0,31}$/, 'expected a name of a-z, 0-9 and -, beginning with a letter, at most 32 long');
}

interface Range {
  readonly min: number;
  readonly max: number;
  readonly rule: string;
}

function rangeOf(range: { min?: string; max?: string }, parse: (text: string) => number | undefined): Range {
  const min = range.min === undefined ? 0 : parse(range.min);
  const max = range.max === undefined ? Number.POSITIVE_INFINITY : parse(range.max);
  if (min === undefined || max === undefined) throw new RangeError('a bound of an option does not parse');
  const words = [range.min && `at least ${range.min}`, range.max && `at most ${range.max}`].filter(Boolean);
  return { min, max, rule: `expected ${words.join(', ')}` };
}

/** A transform that parses, or names the rule that was broken. */
function parsed<In, Out>(parse: (value: In) => Out | undefined, rule: string, range?: Range) {
  return (value: In, context: z.core.$RefinementCtx): Out => {
    const result = parse(value);
    const isOutside = range && typeof result === 'number' && (result < range.min || result > range.max);
    if (result !== undefined && !isOutside) return result;
    context.addIssue({ code: 'custom', message: result === undefined ? rule : (range?.rule ?? rule) });
    return z.NEVER;
  };
}
