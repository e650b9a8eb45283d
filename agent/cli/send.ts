/** `send`: a test sender for hospital IT. One connection, one message in flight, every answer shown. */
import { readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { systemClock } from '../base/clock.ts';
import { formatHostPort, type HostPort, parseHostPort } from '../base/options.ts';
import type { Terminal } from '../base/terminal.ts';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import { type Charset, charsets, decode, detectCharset } from '../base/hl7/charset.ts';
import { MllpFramer, VT } from '../source/hl7v2/framer.ts';
import { field, readHeader } from '../base/hl7/header.ts';
import { type Answer, MllpClient } from './send/client.ts';
import { encoder } from './send/encode.ts';
import { buildAdt } from './send/message.ts';
import { defineVerb, type OptionTable, type OptionValues } from './verb.ts';

/** The largest file sent: the largest message a connector takes by default, with room for a few beside it. */
const fileBytesMax = 256 * 1024 * 1024;

/** Times a message is repeated at most: an hour of a busy feed. */
const countMax = 1_000_000;

/** Up to so many answers are shown one by one; of more, those that did not accept, up to the same number. */
const answersShownMax = 20;

const accepted: ReadonlySet<string> = new Set(['AA', 'CA']);

const options = {
  to: { type: 'string', value: 'HOST:PORT', text: 'the receiver', required: true },
  adt: {
    type: 'string',
    value: 'PATIENTID',
    text: 'build an ADT^A08 for this (test) patient number instead of reading files',
  },
  encoding: { type: 'string', value: 'E', text: `re-encode: ${charsets.join(', ')}; files otherwise go as they are` },
  count: { type: 'string', value: 'N', text: 'send everything N times', default: '1' },
  tls: { type: 'boolean', text: 'use TLS; implied by the three below' },
  ca: { type: 'string', value: 'FILE', text: "PEM of the CA that issued the receiver's certificate" },
  cert: { type: 'string', value: 'FILE', text: 'PEM of our client certificate' },
  key: { type: 'string', value: 'FILE', text: 'PEM of its private key' },
} as const satisfies OptionTable;

type Values = OptionValues<typeof options>;

interface Outgoing {
  readonly label: string;
  readonly controlId: string;
  readonly bytes: Buffer;
}

interface Sent extends Answer {
  readonly label: string;
  readonly ms: number;
}

export const verb = defineVerb({
  usage: 'FILE… --to HOST:PORT | --adt PATIENTID --to HOST:PORT',
  about:
    'Sends HL7 v2 messages over MLLP, waits for each answer (30 s) and shows it. A file is one message, or MLLP frames.\n' +
    'Use invented patients only.',
  options,
  positionals: { min: 0, max: 10_000 },
  run: async (values, files, { terminal, signal }) => {
    const to = parseHostPort(values.to);
    if (!to || to.port === 0) throw usage(`--to ${values.to} is not HOST:PORT.`);
    const plan = planOf(values, files);
    const client = await MllpClient.connect({ to, tls: tlsOf(values), clock: systemClock });
    try {
      const sent = await sendAll(client, plan, { terminal, signal });
      return summarise(terminal, to, sent);
    } finally {
      client.close();
    }
  },
});

interface Plan {
  readonly total: number;
  messages(): AsyncIterable<Outgoing> | Iterable<Outgoing>;
}

function planOf({ adt, encoding, count }: Values, files: readonly string[]): Plan {
  const charset = charsetOf(encoding);
  const times = Number(count);
  if (!/^\d{1,7}$/.test(count) || times < 1 || times > countMax) throw usage(`--count takes 1 to ${countMax}.`);
  if ((adt === undefined) === (files.length === 0))
    throw usage('Name files to send, or --adt PATIENTID, and not both.');
  if (adt !== undefined) return adtPlan(adt, charset ?? 'utf-8', times);
  const messages = files.flatMap((path) => readMessages(path, charset));
  return { total: messages.length * times, messages: () => repeated(messages, times) };
}

function* repeated(messages: readonly Outgoing[], times: number): Generator<Outgoing> {
  for (let round = 0; round < times; round++) yield* messages;
}

function adtPlan(patientId: string, charset: Charset, total: number): Plan {
  const encode = encoder(charset);
  const at = systemClock.now();
  return {
    total,
    messages: async function* () {
      for (let number = 1; number <= total; number++) {
        const controlId = `T${at.toString(36).toUpperCase()}-${number}`;
        yield { label: 'ADT^A08', controlId, bytes: encode(await buildAdt({ patientId, controlId, at, charset })) };
      }
    },
  };
}

function charsetOf(encoding: string | undefined): Charset | undefined {
  const found = charsets.find((charset) => charset === encoding);
  if (encoding !== undefined && !found) throw usage(`--encoding takes ${charsets.join(', ')}.`);
  return found;
}

/** @throws ConnectorError FILE_UNREADABLE */
function readMessages(path: string, charset: Charset | undefined): Outgoing[] {
  const bytes = readFile(path);
  const contents = bytes[0] === VT ? framesOf(bytes) : [bytes];
  return contents.map((content) => {
    const header = readHeader(content);
    if (!header) throw new ConnectorError('FILE_UNREADABLE', { path, reason: 'it does not begin with an MSH segment' });
    const msh18 = field(header, 18);
    const encoded = charset ? encoder(charset)(decode(content, detectCharset(content, msh18))) : content;
    return { label: basename(path), controlId: field(header, 10), bytes: encoded };
  });
}

function readFile(path: string): Buffer {
  try {
    if (statSync(path).size <= fileBytesMax) return readFileSync(path);
  } catch (cause) {
    throw new ConnectorError('FILE_UNREADABLE', { path, reason: reasonOf(cause) }, { cause });
  }
  throw new ConnectorError('FILE_UNREADABLE', { path, reason: `it is larger than ${fileBytesMax} bytes` });
}

/** A capture of a connection: what lies between the frames is not sent. */
function framesOf(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  const framer = new MllpFramer(
    { frameBytesMax: fileBytesMax, now: () => 0 },
    { frame: (content) => void frames.push(content), problem: () => undefined, fault: () => undefined },
  );
  framer.push(bytes);
  framer.end();
  return frames;
}

function tlsOf({ tls, ca, cert, key }: Values): ConnectionOptions | undefined {
  if (!tls && ca === undefined && cert === undefined && key === undefined) return undefined;
  return {
    ...(ca === undefined ? {} : { ca: readFile(ca) }),
    ...(cert === undefined ? {} : { cert: readFile(cert) }),
    ...(key === undefined ? {} : { key: readFile(key) }),
  };
}

async function sendAll(
  client: MllpClient,
  plan: Plan,
  { terminal, signal }: { terminal: Terminal; signal: AbortSignal },
): Promise<Sent[]> {
  const isShort = plan.total <= answersShownMax;
  const bar = isShort ? undefined : terminal.progress('sending', { unit: 'messages', total: plan.total });
  const sent: Sent[] = [];
  try {
    for await (const message of plan.messages()) {
      if (signal.aborted) break;
      const answer = await sendOne(client, message);
      sent.push(answer);
      if (isShort) terminal.say(answerLine(answer));
      bar?.update(sent.length);
    }
  } finally {
    bar?.stop();
  }
  if (!isShort) for (const answer of refusedOf(sent).slice(0, answersShownMax)) terminal.say(answerLine(answer));
  return sent;
}

async function sendOne(client: MllpClient, { label, controlId, bytes }: Outgoing): Promise<Sent> {
  const start = systemClock.monotonic();
  const answer = await client.send(bytes, controlId);
  return { ...answer, label, ms: Math.round(systemClock.monotonic() - start) };
}

function answerLine({ code, controlId, text, label, ms }: Sent): string {
  return `${code}  ${controlId}  ${label}  ${ms} ms${text === '' ? '' : `  ${text}`}`;
}

function refusedOf(sent: readonly Sent[]): Sent[] {
  return sent.filter(({ code }) => !accepted.has(code));
}

/** @throws ConnectorError SEND_REFUSED when any message was not accepted. */
function summarise(terminal: Terminal, address: HostPort, sent: readonly Sent[]): number {
  const to = formatHostPort(address);
  const codes: Record<string, number> = {};
  for (const { code } of sent) codes[code] = (codes[code] ?? 0) + 1;
  const refused = refusedOf(sent);
  const slowestMs = sent.reduce((slowest, { ms }) => Math.max(slowest, ms), 0);
  const counts = Object.entries(codes).map(([code, count]) => `${code} ${count}`);
  terminal.say(`${sent.length} sent to ${to}: ${counts.join(', ') || 'none'}; slowest answer ${slowestMs} ms.`);
  const answers = (sent.length <= answersShownMax ? sent : refused).slice(0, answersShownMax);
  terminal.result({ to, sent: sent.length, accepted: sent.length - refused.length, codes, slowestMs, answers });
  if (refused.length > 0) throw new ConnectorError('SEND_REFUSED', { count: refused.length, total: sent.length, to });
  return 0;
}

function usage(problem: string): ConnectorError {
  return new ConnectorError('USAGE', { problem });
}
