/**
 * Everything that can be configured, in one schema made from the registry of sources. Each option has a description,
 * a unit, a range and, unless only the hospital can know it, a default. `config/connector.example.yaml` shows them
 * all; `config/connector.schema.json` is generated from here (`npm run docs`).
 *
 * In the parsed configuration a duration is milliseconds, a size is bytes, a path is absolute.
 */
import { z } from 'zod';
import {
  configName,
  duration,
  filePath,
  keyReference,
  loopbackAddress,
  schedule,
  secret,
  size,
} from '../base/options.ts';
import { isError } from '../model/errors.ts';
import { bases } from '../model/ports.ts';
import { RateSchedule } from '../ship/rate.ts';
import { patientIdOptions, type SourceDefinition, sourceCommonShape } from '../source/define.ts';
import { type SourceConfig, sourceKinds } from '../source/registry.ts';

/** A payload held for somebody whose waiting days run must not be destroyed before they are over: two weeks of slack. */
export const holdBeyondWaitingDays = 14;

export const defaultWaitingDays = 31;
export const defaultHoldDays = 45;
export const holdDaysMin = 30 + holdBeyondWaitingDays;

/** Where we listen unless told otherwise: on this machine only. */
export const defaultListen = { console: '127.0.0.1:8420', metrics: '127.0.0.1:9420' } as const;

/** More of either is a mistake in the file, not a hospital. */
const sourcesMax = 64;
const producersMax = 16;

const facility = z.strictObject({
  code: z
    .string('expected the code in quotes, 10 digits: a number would lose its leading zero')
    .regex(/^(0[1-9]|[1-4]\d)\d{8}$/, 'expected 10 digits: prefecture (2), table (1), institution (7)')
    .describe('Medical institution code, 10 digits in quotes: prefecture, table, institution.'),
  name: z
    .string('expected a name')
    .min(1, 'expected a name')
    .max(100)
    .describe("The hospital's name, as people write it."),
  timezone: z
    .literal('Asia/Tokyo', 'expected Asia/Tokyo: days, waiting times and timetables are those of Japan')
    .default('Asia/Tokyo')
    .describe('Days and timetables are counted in this zone; only Asia/Tokyo.'),
});

const keys = z.strictObject({
  site: keyReference().describe(
    'Where the site key is: a file of mode 0600, or a systemd credential. Everything stored is sealed with it.',
  ),
  recovery: z
    .strictObject({
      recipient: z
        .string()
        .regex(/^age1[a-z0-9]{20,4000}$/, 'expected an age recipient, age1…')
        .describe(
          "Public half of the hospital's recovery key, as `init` printed it. The site key is kept encrypted to it.",
        ),
    })
    .optional()
    .describe('The way back to the data when this machine is lost.'),
});

const tls = z.strictObject({
  ca: filePath().describe("The producer's CA, PEM. No other is trusted, not even the system's."),
  cert: filePath().describe('Our client certificate, PEM, issued by the producer; its CN is the facility code.'),
  key: filePath().describe('The private key of the client certificate, PEM, mode 0600.'),
});

const proxy = z.strictObject({
  url: z
    .url({ protocol: /^http$/, error: 'expected http://HOST:PORT of the proxy' })
    .refine(hasNoCredentials, 'expected a URL without user and password; use `username` and `password`')
    .describe('The HTTP proxy of the hospital, http://HOST:PORT; we go through it by CONNECT, encrypted end to end.'),
  username: z.string().min(1).max(256).optional().describe('Sent to the proxy (Basic), if it asks.'),
  password: secret().optional().describe('Sent with the username; by reference.'),
});

const bandwidthRule = 'expected a rate such as 20M, or a timetable such as "06:00 0, 22:00 20M" (`0`, `unlimited`)';

const producer = z.strictObject({
  name: configName().describe('Name of this producer, for ever: deliveries and filings are known by it. Unique.'),
  basis: z.enum(bases).describe('The article of the Act this producer is certified under.'),
  url: z
    .url({ protocol: /^https$/, error: 'expected an https URL' })
    .refine(hasNoCredentials, 'expected a URL without user and password: the client certificate says who we are')
    .refine((url) => !/[?#]/.test(url), 'expected a URL without ? and #')
    .transform((url) => (url.endsWith('/') ? url : `${url}/`))
    .describe("The producer's intake; https only."),
  recipients: filePath().describe("age recipients, one a line, at least two: the producer's online and recovery keys."),
  receiptKeys: filePath().describe('JWKS of the keys that sign receipts, compared by telephone at enrolment.'),
  tls: tls.describe('TLS 1.3 with a client certificate.'),
  proxy: proxy.optional().describe('Needed only where the firewall lets nothing out directly.'),
  bandwidth: z
    .string(bandwidthRule)
    .refine(isTimetable, bandwidthRule)
    .default('unlimited')
    .describe('Upload rate, or a timetable of rates (Asia/Tokyo): bytes a second with a unit (512K, 20M), `0` stops.'),
  schedule: schedule().default('*/15 * * * *').describe('When to look for something to ship, cron, Asia/Tokyo.'),
  receiver: z
    .enum(['kakehashi', 'tus'])
    .default('kakehashi')
    .describe(
      '`kakehashi`: our intake. `tus`: a plain tus 1.0 server; what may have arrived whole is then retracted, not voided.',
    ),
});

const register = z
  .strictObject({
    folder: filePath()
      .optional()
      .describe('Watched for register files; each is deleted once imported. Default: `register` in the state folder.'),
    maxAge: duration({ min: '1h', max: '31d' })
      .prefault('96h')
      .describe(
        'Older than this, counted from the as_of of its newest file, the register is stale and nothing is shipped. 1h to 31d.',
      ),
    waitingDays: z
      .int('expected a whole number of days, at least 30')
      .min(30, 'expected at least 30 (days after the notice, by law)')
      .max(365, 'expected at most 365')
      .default(defaultWaitingDays)
      .describe('Calendar days between the notice and the first provision, Asia/Tokyo; 30 to 365.'),
    patientId: patientIdOptions.describe('How the patient numbers in register files are normalised.'),
  })
  .prefault({});

const hold = z
  .strictObject({
    days: z
      .int('expected a whole number of days')
      .min(holdDaysMin, `expected at least ${holdDaysMin} (30 waiting days and ${holdBeyondWaitingDays})`)
      .max(400, 'expected at most 400')
      .default(defaultHoldDays)
      .describe(
        'How long a record that may not leave yet is kept, encrypted, in days; at least register.waitingDays + 14, at most 400.',
      ),
  })
  .prefault({});

const retention = z
  .strictObject({
    afterStored: z
      .union([z.literal('never'), duration({ min: '7d', max: '1y' })], 'expected never, or a duration such as 30d')
      .default('never')
      .describe('How long after `stored` a payload is destroyed although `opened` never came; `never`, or 7d to 1y.'),
    ledger: duration({ min: '3y', max: '100y' })
      .prefault('10y')
      .describe('How long the record of provision and the ledger are kept; 3y to 100y.'),
  })
  .prefault({});

const webConsole = z
  .strictObject({
    listen: loopbackAddress()
      .prefault(defaultListen.console)
      .describe(
        'Where the page for people is served: a loopback address and a port. Other machines reach it by an SSH tunnel.',
      ),
  })
  .prefault({});

const health = z
  .strictObject({
    heartbeat: duration({ min: '10s', max: '1h' })
      .prefault('60s')
      .describe('How often the producer hears from us; 10s to 1h.'),
    metrics: loopbackAddress()
      .prefault(defaultListen.metrics)
      .describe("Prometheus metrics for the hospital's own monitoring: a loopback address and a port."),
  })
  .prefault({});

const limits = z
  .strictObject({
    recordBytes: size({ min: '1M', max: '4G' }).prefault('4GiB').describe('Largest single record taken; 1M to 4GiB.'),
    bufferBytes: size({ min: '1G' })
      .optional()
      .describe('Largest total of payloads kept; without it the free space decides. At least 1G.'),
    freeBytesMin: size({ min: '64M' })
      .prefault('2GiB')
      .describe('With less free space than this in the state folder nothing more is taken; at least 64M.'),
  })
  .prefault({});

/** The schema for these kinds of source. */
export function schemaOf(kinds: readonly SourceDefinition[]) {
  const [first, ...rest] = kinds.map(({ kind, options }) =>
    options.safeExtend({ kind: z.literal(kind).describe(`A source of kind ${kind}.`), ...sourceCommonShape }),
  );
  if (!first) throw new TypeError('there is no kind of source');
  const source = z.discriminatedUnion('kind', [first, ...rest] as [typeof first, ...(typeof first)[]]);
  return z.strictObject({
    facility: facility.describe('Who we are.'),
    state: filePath().describe('Folder of everything this connector keeps; one process owns it.'),
    keys: keys.describe('Keys, by reference.'),
    sources: z.array(source).max(sourcesMax).default([]).describe('Where records come from.'),
    producers: z.array(producer).max(producersMax).default([]).describe('Where records go; empty until enrolled.'),
    register: register.describe('Notices, stops and how they are brought in.'),
    hold: hold.describe('Records that may not leave yet.'),
    retention: retention.describe('What is kept for how long.'),
    console: webConsole.describe('The page for people.'),
    health: health.describe('What is told about our own health.'),
    limits: limits.describe('Bounds on sizes and space.'),
  });
}

export const configSchema = schemaOf(sourceKinds);
export type ConfigSchema = ReturnType<typeof schemaOf>;

type DeepReadonly<T> = T extends object ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> } : T;

type ParsedOptions = Omit<z.output<ConfigSchema>, 'sources' | 'register'> & {
  sources: SourceConfig[];
  register: Omit<z.output<typeof register>, 'folder'> & { folder: string };
};

/** The configuration as read: deeply frozen, durations in milliseconds, sizes in bytes, paths absolute. */
export type Config = DeepReadonly<
  ParsedOptions & {
    /** The file it came from, absolute. */
    file: string;
    /** SHA-256 (hex) of that file: what health reports as running. */
    hash: string;
  }
>;

export type ProducerConfig = Config['producers'][number];

function isTimetable(text: string): boolean {
  try {
    RateSchedule.parse(text);
    return true;
  } catch (error) {
    if (isError(error, 'RATE_INVALID')) return false;
    throw error;
  }
}

function hasNoCredentials(url: string): boolean {
  if (!URL.canParse(url)) return true;
  const { username, password } = new URL(url);
  return username === '' && password === '';
}
