/**
 * A status as OTLP/HTTP JSON (`ExportMetricsServiceRequest`, opentelemetry-proto 1.x in its JSON mapping: 64-bit
 * integers are strings, enums are numbers), written by hand: the SDK is 31 MB and calls a 404 a success.
 *
 * This is what leaves the hospital, so it is built from closed lists alone. A source or producer goes by its kind and
 * its number in the configuration, a job by its number, an error by its code. Nothing that anybody typed is in it:
 * names have no way in, and every text that is not from a list must be hexadecimal or a version number. Numbers of
 * records are cut down to tens, because "1 record refused" tells a person who knows somebody (REQ-TEL-1).
 */
import { deliveryStates } from '../buffer/deliveries.ts';
import { errorTable } from '../model/errors.ts';
import { eventTable } from '../model/events.ts';
import type { Instant } from '../model/record.ts';
import { adviceReasons } from './advice.ts';
import type { Status } from './status.ts';
import { sourceKinds, stateWords } from './words.ts';

/** Metric name → unit (UCUM). All there are. */
const metrics = {
  'kakehashi.state': '1',
  'kakehashi.advice': '1',
  'kakehashi.heartbeat.sequence': '1',
  'kakehashi.heartbeat.dropped': '1',
  'kakehashi.build': '1',
  'kakehashi.uptime': 'ms',
  'kakehashi.crashes.recent': '1',
  'kakehashi.source.state': '1',
  'kakehashi.source.queued': '{record}',
  'kakehashi.source.last_ok_age': 'ms',
  'kakehashi.source.silence': 'ms',
  'kakehashi.source.silence_usual': 'ms',
  'kakehashi.source.complete_through_age': 'ms',
  'kakehashi.producer.state': '1',
  'kakehashi.producer.queued': '{record}',
  'kakehashi.producer.last_stored_age': 'ms',
  'kakehashi.producer.last_contact_age': 'ms',
  'kakehashi.unsent.oldest_age': 'ms',
  'kakehashi.deliveries': '{record}',
  'kakehashi.quarantined': '{record}',
  'kakehashi.gaps': '{record}',
  'kakehashi.register.fresh': '1',
  'kakehashi.register.age': 'ms',
  'kakehashi.clock.trusted': '1',
  'kakehashi.clock.offset': 'ms',
  'kakehashi.disk.free': 'By',
  'kakehashi.disk.total': 'By',
  'kakehashi.disk.state': '1',
  'kakehashi.disk.reserve': '1',
  'kakehashi.disk.full_in': 'ms',
  'kakehashi.ledger.head': '1',
  'kakehashi.retractions.oldest_age': 'ms',
  'kakehashi.job.missed': '1',
  'kakehashi.job.last_ok_age': 'ms',
  'kakehashi.certificate.days_left': 'd',
  'kakehashi.config': '1',
  'kakehashi.backup.age': 'ms',
  'kakehashi.events': '1',
} as const;

type MetricName = keyof typeof metrics;

const partStates = ['ok', 'failing', 'paused', 'silent'] as const;
const diskStates = ['ok', 'low', 'full'] as const;
const lanes = ['text', 'image'] as const;
const configRoles = ['running', 'received', 'failed'] as const;
const noCode = 'none';

/** Attribute key → its closed list of values, or the form of one that has none. All there are. */
const attributes = {
  state: new Set<string>([...stateWords, ...partStates, ...deliveryStates, ...diskStates]),
  reason: new Set<string>(adviceReasons),
  kind: new Set<string>(sourceKinds),
  lane: new Set<string>(lanes),
  code: new Set<string>([...Object.keys(errorTable), noCode]),
  event: new Set<string>(Object.keys(eventTable)),
  role: new Set<string>(configRoles),
  index: /^\d{1,4}$/,
  sha256: /^[0-9a-f]{64}$/,
  version: /^\d{1,4}\.\d{1,4}\.\d{1,4}$/,
} as const;

const allowedValues = new Map<string, ReadonlySet<string> | RegExp>(Object.entries(attributes));

type Attributes = Readonly<Partial<Record<keyof typeof attributes, string | number>>>;

interface Point {
  readonly name: MetricName;
  readonly value: number;
  readonly attributes: Attributes;
}

/** More parts than any hospital has; beyond it nothing is told, so that a heartbeat stays small. */
const partsMax = 200;

export interface OtlpNumbers {
  readonly sequence: number;
  /** Heartbeats thrown away unsent since the start. */
  readonly dropped: number;
}

export function encodeOtlp(status: Status, { sequence, dropped }: OtlpNumbers): Buffer {
  const points = [
    point('kakehashi.heartbeat.sequence', sequence),
    point('kakehashi.heartbeat.dropped', dropped),
    ...aboutAgent(status),
    ...status.sources.slice(0, partsMax).flatMap((source, index) => aboutSource(source, index, status.at)),
    ...status.producers.slice(0, partsMax).flatMap((producer, index) => aboutProducer(producer, index, status.at)),
    ...aboutRecords(status),
    ...aboutSurroundings(status),
    ...status.jobs
      .slice(0, partsMax)
      .flatMap((job, index) => [
        point('kakehashi.job.missed', job.missed, { index }),
        ...aged('kakehashi.job.last_ok_age', job.lastOk, status.at, { index }),
      ]),
    ...status.certificates
      .slice(0, partsMax)
      .map(({ daysLeft }, index) => point('kakehashi.certificate.days_left', daysLeft, { index })),
    ...Object.entries(status.events).map(([event, count]) => point('kakehashi.events', tens(count), { event })),
  ];
  return Buffer.from(JSON.stringify(request(points, status.at)));
}

function aboutAgent(status: Status): Point[] {
  return [
    point('kakehashi.state', 1, { state: status.state }),
    ...[...new Set(status.advice.map(({ reason }) => reason))].map((reason) =>
      point('kakehashi.advice', 1, { reason }),
    ),
    point('kakehashi.build', 1, { version: status.version }),
    point('kakehashi.uptime', status.uptimeMs),
    point('kakehashi.crashes.recent', status.recentCrashes),
    ...configRoles.flatMap((role) => {
      const sha256 = status.config[role];
      return sha256 === undefined ? [] : [point('kakehashi.config', 1, { role, sha256 })];
    }),
  ];
}

function aboutSource(source: Status['sources'][number], index: number, at: Instant): Point[] {
  const { kind, state, code = noCode, silence, queued } = source;
  const name = { index, kind };
  return [
    point('kakehashi.source.state', 1, { ...name, state, code }),
    ...lanes.map((lane) => point('kakehashi.source.queued', tens(queued[lane]), { ...name, lane })),
    ...aged('kakehashi.source.last_ok_age', source.lastOkAt, at, name),
    ...aged('kakehashi.source.complete_through_age', source.completeThrough, at, name),
    ...(silence ? [point('kakehashi.source.silence', silence.silentMs, name)] : []),
    ...(silence?.usualMs === undefined ? [] : [point('kakehashi.source.silence_usual', silence.usualMs, name)]),
  ];
}

function aboutProducer(producer: Status['producers'][number], index: number, at: Instant): Point[] {
  const { state, code = noCode, queued } = producer;
  return [
    point('kakehashi.producer.state', 1, { index, state, code }),
    ...lanes.map((lane) => point('kakehashi.producer.queued', tens(queued[lane]), { index, lane })),
    ...aged('kakehashi.producer.last_stored_age', producer.lastStoredAt, at, { index }),
    ...aged('kakehashi.producer.last_contact_age', producer.lastContactAt, at, { index }),
  ];
}

/** Everything that counts people's records. */
function aboutRecords(status: Status): Point[] {
  const { deliveries, quarantined, gaps, oldestUnsentMs, retractions } = status;
  return [
    ...deliveryStates.map((state) => point('kakehashi.deliveries', tens(deliveries[state]), { state })),
    point('kakehashi.quarantined', tens(quarantined)),
    point('kakehashi.gaps', tens(gaps)),
    point('kakehashi.unsent.oldest_age', oldestUnsentMs),
    ...(retractions.oldestMs === undefined ? [] : [point('kakehashi.retractions.oldest_age', retractions.oldestMs)]),
  ];
}

function aboutSurroundings({ register, clock, disk, ledgerHead, backupAgeMs, at }: Status): Point[] {
  return [
    point('kakehashi.register.fresh', register.fresh ? 1 : 0),
    ...aged('kakehashi.register.age', register.asOf, at, {}),
    point('kakehashi.clock.trusted', clock.trusted ? 1 : 0),
    ...(clock.offsetMs === undefined ? [] : [point('kakehashi.clock.offset', clock.offsetMs)]),
    point('kakehashi.disk.free', disk.freeBytes),
    point('kakehashi.disk.total', disk.totalBytes),
    point('kakehashi.disk.state', 1, { state: disk.state }),
    point('kakehashi.disk.reserve', disk.hasReserve ? 1 : 0),
    ...(disk.fullInMs === undefined ? [] : [point('kakehashi.disk.full_in', disk.fullInMs)]),
    ...(ledgerHead ? [point('kakehashi.ledger.head', ledgerHead.seq, { sha256: ledgerHead.hash })] : []),
    ...(backupAgeMs === undefined ? [] : [point('kakehashi.backup.age', backupAgeMs)]),
  ];
}

function aged(name: MetricName, then: Instant | undefined, now: Instant, attributes: Attributes): Point[] {
  return then === undefined ? [] : [point(name, Math.max(0, now - then), attributes)];
}

function point(name: MetricName, value: number, attributes: Attributes = {}): Point {
  return { name, value, attributes };
}

/** 0 to 9 become 0, 19 becomes 10: neither a small number nor the difference of one shows. */
function tens(count: number): number {
  return Math.floor(count / 10) * 10;
}

/** Points of one name are one gauge. */
function request(points: readonly Point[], at: Instant): object {
  const byName = Map.groupBy(points.filter(isPlain), ({ name }) => name);
  const gauges = Array.from(byName, ([name, group]) => ({
    name,
    unit: metrics[name],
    gauge: { dataPoints: group.map((each) => dataPoint(each, at)) },
  }));
  const resource = { attributes: [{ key: 'service.name', value: { stringValue: 'kakehashi' } }] };
  return { resourceMetrics: [{ resource, scopeMetrics: [{ scope: { name: 'kakehashi.health' }, metrics: gauges }] }] };
}

/**
 * The last door. The types already say all this; a value that came round them (a cast, a row of an old database) is
 * left out with its point.
 */
function isPlain({ value, attributes: given }: Point): boolean {
  return (
    Number.isFinite(value) &&
    Object.entries(given).every(([key, text]) => {
      const allowed = allowedValues.get(key);
      if (allowed === undefined) return false;
      return allowed instanceof RegExp ? allowed.test(String(text)) : allowed.has(String(text));
    })
  );
}

function dataPoint({ value, attributes: given }: Point, at: Instant): object {
  return {
    attributes: Object.entries(given).map(([key, text]) => ({ key, value: { stringValue: String(text) } })),
    timeUnixNano: `${Math.round(at)}000000`,
    asInt: String(Math.round(value)),
  };
}
