/**
 * The status as Prometheus text (exposition format 0.0.4) for the hospital's own monitoring, on this machine only.
 * Names of sources and producers are the configured ones, and counts are exact: it does not leave the hospital.
 *
 *   GET /metrics    200
 *   GET /healthz    200 `ok`, or 503 with the state word when the connector does not do its work
 */
import { LocalServer, type Reply } from '../base/local-server.ts';
import type { Status } from './status.ts';
import { stateWords } from './words.ts';

type Labels = Readonly<Record<string, string>>;

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type?: 'counter';
  readonly samples: readonly (readonly [value: number, labels?: Labels])[];
}

/** @returns a server whose `listen` may throw METRICS_UNAVAILABLE */
export function metricsServer(status: () => Status): LocalServer {
  return new LocalServer({ unavailable: 'METRICS_UNAVAILABLE', answer: ({ path }) => answer(path, status) });
}

function answer(path: string, status: () => Status): Reply {
  if (path === '/metrics')
    return { status: 200, body: expose(status()), type: 'text/plain; version=0.0.4; charset=utf-8' };
  if (path !== '/healthz') return { status: 404, body: 'not found\n' };
  const { state } = status();
  const works = state !== 'safe' && state !== 'stopped-by-fault';
  return { status: works ? 200 : 503, body: works ? 'ok\n' : `${state}\n` };
}

export function expose(status: Status): string {
  return [...aboutAgent(status), ...aboutParts(status), ...aboutRecords(status), ...aboutMachine(status)]
    .filter(({ samples }) => samples.length > 0)
    .map(familyText)
    .join('');
}

function aboutAgent(status: Status): Family[] {
  return [
    {
      name: 'kakehashi_state',
      help: 'The state the connector is in is 1, the others 0.',
      samples: stateWords.map((state) => [status.state === state ? 1 : 0, { state }]),
    },
    {
      name: 'kakehashi_advice',
      help: 'What a person should look at, by reason.',
      samples: status.advice.map(({ reason, subject = '' }) => [1, { reason, subject }]),
    },
    { name: 'kakehashi_build_info', help: 'The running version.', samples: [[1, { version: status.version }]] },
    { name: 'kakehashi_uptime_seconds', help: 'Since the start.', samples: [[status.uptimeMs / 1_000]] },
    { name: 'kakehashi_recent_crashes', help: 'Crashes in the last 10 minutes.', samples: [[status.recentCrashes]] },
    {
      name: 'kakehashi_events_total',
      help: 'Events since the start, as in the log.',
      type: 'counter',
      samples: Object.entries(status.events).map(([event, count]) => [count, { event }]),
    },
  ];
}

function aboutParts({ sources, producers, jobs, at }: Status): Family[] {
  const ageS = (then: number) => Math.max(0, at - then) / 1_000;
  return [
    {
      name: 'kakehashi_source_up',
      help: '1 while the source works or is paused, 0 while it fails or is unusually silent.',
      samples: sources.map(({ name: source, kind, state }) => [isUp(state), { source, kind }]),
    },
    {
      name: 'kakehashi_source_queued_records',
      help: 'Deliveries held or ready, by source and lane.',
      samples: sources.flatMap(({ name: source, queued }) => [
        [queued.text, { source, lane: 'text' }] as const,
        [queued.image, { source, lane: 'image' }] as const,
      ]),
    },
    {
      name: 'kakehashi_source_silence_seconds',
      help: 'Since the source last gave anything.',
      samples: sources.flatMap(({ name: source, silence }) =>
        silence ? [[silence.silentMs / 1_000, { source }] as const] : [],
      ),
    },
    {
      name: 'kakehashi_producer_up',
      help: '1 while the producer answers or shipping is paused.',
      samples: producers.map(({ name: producer, state }) => [isUp(state), { producer }]),
    },
    {
      name: 'kakehashi_producer_queued_records',
      help: 'Deliveries ready or packed, by producer and lane.',
      samples: producers.flatMap(({ name: producer, queued }) => [
        [queued.text, { producer, lane: 'text' }] as const,
        [queued.image, { producer, lane: 'image' }] as const,
      ]),
    },
    {
      name: 'kakehashi_producer_last_stored_seconds',
      help: 'Since the producer last confirmed a parcel.',
      samples: producers.flatMap(({ name: producer, lastStoredAt }) =>
        lastStoredAt === undefined ? [] : [[ageS(lastStoredAt), { producer }] as const],
      ),
    },
    {
      name: 'kakehashi_job_missed_total',
      help: 'Scheduled runs that never took place.',
      type: 'counter',
      samples: jobs.map(({ name: job, missed }) => [missed, { job }]),
    },
  ];
}

function isUp(state: Status['sources'][number]['state']): number {
  return state === 'ok' || state === 'paused' ? 1 : 0;
}

function aboutRecords(status: Status): Family[] {
  return [
    {
      name: 'kakehashi_deliveries',
      help: 'Deliveries by state.',
      samples: Object.entries(status.deliveries).map(([state, count]) => [count, { state }]),
    },
    { name: 'kakehashi_quarantined_records', help: 'Records waiting for a person.', samples: [[status.quarantined]] },
    { name: 'kakehashi_gaps', help: 'Things not taken yet, to be fetched again.', samples: [[status.gaps]] },
    {
      name: 'kakehashi_oldest_unsent_seconds',
      help: 'Age of the oldest delivery that may leave and has not.',
      samples: [[status.oldestUnsentMs / 1_000]],
    },
    { name: 'kakehashi_open_retractions', help: 'Stops not yet confirmed.', samples: [[status.retractions.open]] },
  ];
}

function aboutMachine({ register, clock, disk, certificates, backupAgeMs }: Status): Family[] {
  return [
    { name: 'kakehashi_register_fresh', help: '1 while the register is fresh.', samples: [[register.fresh ? 1 : 0]] },
    { name: 'kakehashi_clock_trusted', help: '1 while the clock is trusted.', samples: [[clock.trusted ? 1 : 0]] },
    { name: 'kakehashi_disk_free_bytes', help: 'Free on the state folder’s disk.', samples: [[disk.freeBytes]] },
    { name: 'kakehashi_disk_size_bytes', help: 'Size of the state folder’s disk.', samples: [[disk.totalBytes]] },
    {
      name: 'kakehashi_disk_full_in_seconds',
      help: 'Until intake stops, if it goes on filling as in the last days.',
      samples: disk.fullInMs === undefined ? [] : [[disk.fullInMs / 1_000]],
    },
    {
      name: 'kakehashi_certificate_left_seconds',
      help: 'Until a certificate expires, in whole days.',
      samples: certificates.map(({ name: certificate, daysLeft }) => [daysLeft * 86_400, { certificate }]),
    },
    {
      name: 'kakehashi_backup_age_seconds',
      help: 'Since the last backup.',
      samples: backupAgeMs === undefined ? [] : [[backupAgeMs / 1_000]],
    },
  ];
}

function familyText({ name, help, type, samples }: Family): string {
  const lines = samples.map(([value, labels]) => `${name}${labelText(labels)} ${value}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type ?? 'gauge'}\n${lines.join('')}`;
}

function labelText(labels: Labels = {}): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}="${escape(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escape(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
