/**
 * Planted names and numbers are found nowhere: not in the state folder of a running, a killed or a stopped agent, not
 * in what any process says, not in heartbeats or metrics, not in what a crash leaves behind.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../agent/base/clock.ts';
import type { Charset } from '../../agent/base/hl7/charset.ts';
import { daysAgo, Hospital, source } from '../peers/hospital/hospital.ts';
import { hl7, type Hl7Message, type Person } from '../peers/hospital/messages.ts';
import { StallingProducer } from '../peers/hospital/stalling-producer.ts';
import { found, foundInFiles, needlesOf } from './canaries.ts';

/** One for each thing that can become of a record. */
const people = {
  kept: who('4711081501', '綾小路^鶴亀丸', 'アヤノコウジ^ツルカメマル', '架空市麒麟町九丁目'),
  held: who('4711081502', '薔薇園^蓮華', 'バラゾノ^レンゲエミ', '架空市鳳凰台七番地'),
  refused: who('4711081503', '龍造寺^隼人助', 'リュウゾウジ^ハヤトノスケ', '幻想郡玄武村字亀沢'),
  quarantined: who('4711081504', '御手洗^雅楽', 'ミタライ^ウタノスケ', '幻想郡青龍村大字辰'),
  stoppedLater: who('4711081505', '勅使河原^椿', 'テシガワラ^ツバキコ', '架空市朱雀通六条'),
  stoppedByFile: who('4711081506', '百舌鳥^菖蒲', 'モズノ^アヤメコマチ', '架空市白虎坂三丁目'),
} as const satisfies Readonly<Record<string, Person>>;

const charsets = ['utf-8', 'iso-2022-jp', 'cp932', 'euc-jp'] as const satisfies readonly Charset[];
const needles = Object.entries(people).flatMap(([role, person]) => needlesOf(role, person));

function who(id: string, kanji: string, kana: string, address: string): Person {
  return { id, kanji, kana, address };
}

describe('the search itself', () => {
  it('finds each needle in whatever is written before and after it', () => {
    for (const { name, bytes } of needles)
      expect(found(Buffer.concat([Buffer.from('|^'), bytes, Buffer.of(0)]), needles), name).toContain(name);
  });

  it('finds a person in a message, and in one that was written down as Base64 or hex at any offset', () => {
    for (const charset of charsets) {
      const { bytes } = hl7({ controlId: 'C', person: people.kept, charset });
      for (const part of ['id', 'family', 'kana', 'address']) {
        expect(found(bytes, needles)).toContain(`kept.${part} in ${charset}`);
        expect(found(bytes.toString('hex'), needles)).toContain(`kept.${part} in ${charset}, hex`);
        const inBase64 = found(bytes.toString('base64'), needles).filter((name) =>
          name.includes(`kept.${part} in ${charset}, B`),
        );
        expect(inBase64, part).not.toEqual([]);
      }
    }
  });

  it('finds nobody in a message of somebody else', () => {
    const other = who('0000000000', '架橋^太郎', 'カケハシ^タロウ', '東京都架空区架橋');
    for (const charset of charsets)
      expect(found(hl7({ controlId: 'C', person: other, charset }).bytes, needles)).toEqual([]);
  });
});

describe('after traffic of every kind', () => {
  let hospital: Hospital;
  let producer: StallingProducer;
  /** `where path: needle`, gathered along the way. */
  const hits: string[] = [];
  let metrics = '';

  const look = async (when: string) => {
    const files = await patientFiles(hospital);
    expect(files.length).toBeGreaterThan(3);
    hits.push(...(await foundInFiles(files, needles)).map((hit) => `${when} ${hit}`));
  };

  beforeAll(async () => {
    hospital = await Hospital.create();
    await hospital.startProducer();
    producer = await StallingProducer.start({
      producerKeys: hospital.producerKeys,
      clientFolder: join(hospital.folder, 'hospital', 'ldi'),
      targetPort: hospital.producer.ready.port ?? 0,
    });
    await hospital.writeConfig(producer.url);
    await hospital.startAgent();
    const { kept, refused, quarantined, stoppedLater, stoppedByFile } = people;
    await hospital.enrol([kept, refused, quarantined, stoppedLater, stoppedByFile].map(({ id }) => id));
    await hospital.untilTrusted();
    await hospital.cli('register', 'stop', '--patient', refused.id);

    await hospital.send(traffic());
    await look('running:');
    await hospital.agent.kill();
    await look('killed:');
    await hospital.startAgent();
    await hospital.untilTrusted();
    await hospital.send(traffic());
    await hospital.ship();
    await hospital.cli('register', 'stop', '--patient', stoppedLater.id);
    await stopByFile(hospital, stoppedByFile.id);
    await hospital.ship();
    await speakOfThem(hospital);
    metrics = await (await fetch(`http://127.0.0.1:${hospital.agent.ready.ports?.['metrics']}/metrics`)).text();
    await untilHeartbeats(producer, 2);
    await look('served:');
    await hospital.agent.stop();
    await look('stopped:');
  });
  afterAll(async () => {
    await producer?.close();
    await hospital.close();
  });

  it('there was somebody of every kind', async () => {
    const { deliveries, quarantined } = JSON.parse((await hospital.cli('status', '--json')).stdout) as {
      deliveries: Record<string, number>;
      quarantined: number;
    };
    for (const state of ['opened', 'held', 'refused']) expect(deliveries[state], state).toBeGreaterThan(0);
    expect(quarantined).toBeGreaterThan(0);
    // The producer has them, so they were sent, and the search would have known them.
    const opened = await readFiles(join(hospital.data, 'opened'));
    expect(found(opened, needles)).toContain('kept.kana in utf-8');
  });

  it('nobody is in the state folder: not while it runs, not after kill -9, not after it has stopped', () => {
    expect(hits).toEqual([]);
  });

  it('nobody is in what the agent, the commands and the producer have said', () => {
    expect(hospital.said.length).toBeGreaterThan(1000);
    expect(found(hospital.said, needles)).toEqual([]);
  });

  it('nobody is in a heartbeat, a hello, or the envelope of a retraction', () => {
    expect(producer.posted.map(({ path }) => path)).toEqual(
      expect.arrayContaining(['/v1/metrics', '/v1/hello', '/v1/retractions']),
    );
    for (const { path, body } of producer.posted) {
      expect(found(body, needles), path).toEqual([]);
      // The parts of a JWS are Base64 of their own.
      for (const part of body.toString('latin1').split(/[."]/))
        expect(found(Buffer.from(part, 'base64url'), needles), path).toEqual([]);
    }
  });

  it('nobody is on the metrics page', () => {
    expect(metrics).toContain(source);
    expect(found(metrics, needles)).toEqual([]);
  });

  it('nobody is in what lies at the producer before it is opened', async () => {
    expect(found(await readFiles(join(hospital.data, 'parcels')), needles)).toEqual([]);
  });
});

describe('a crash', () => {
  let hospital: Hospital;
  beforeAll(async () => {
    hospital = await Hospital.create();
    await hospital.writeConfig();
  });
  afterAll(() => hospital.close());

  /**
   * A core dump holds what the process had in memory, people included, and only the system decides whether one is
   * written. So the service runs without: prlimit does here what LimitCORE=0 does in a unit. Nothing of ours asks for
   * a dump of another kind.
   */
  it('leaves no core, no diagnostic report and no heap snapshot, in no folder of ours', async () => {
    const cwd = join(hospital.folder, 'cwd');
    await mkdir(cwd);
    await hospital.startAgent({ under: ['prlimit', '--core=0', '--'], cwd });
    const limits = await readFile(`/proc/${hospital.agent.pid}/limits`, 'latin1');
    expect(limits).toMatch(/Max core file size\s+0\s+0/);
    const commandLine = await readFile(`/proc/${hospital.agent.pid}/cmdline`, 'latin1');
    expect(commandLine).not.toMatch(/--report-|--heapsnapshot|--heap-prof|--cpu-prof|--abort-on|--trace/);
    await hospital.send([hl7({ controlId: 'CRASH', person: people.kept })]);
    hospital.agent.signal('SIGABRT');
    await hospital.agent.exit();
    expect(await readdir(cwd)).toEqual([]);
    const files = await patientFiles(hospital);
    expect(files.filter((path) => /core|report|heap|\.dump/.test(path.slice(hospital.state.length)))).toEqual([]);
    expect(await foundInFiles(files, needles)).toEqual([]);
    expect(found(hospital.said, needles)).toEqual([]);
  });
});

/** All of the state but the reserve: 64 MiB of random bytes that are only there to be given back. */
async function patientFiles(hospital: Hospital): Promise<string[]> {
  return (await hospital.stateFiles()).filter((path) => path !== join(hospital.state, 'reserve'));
}

function traffic(): Hl7Message[] {
  const { kept, held, refused, quarantined, stoppedLater, stoppedByFile } = people;
  const each = [kept, held, refused, stoppedLater, stoppedByFile].flatMap((person) =>
    charsets.flatMap((charset) => [
      hl7({ controlId: `${person.id.slice(-2)}-${charset}`, person, charset }),
      hl7({ controlId: `${person.id.slice(-2)}-${charset}-A`, person, charset, type: 'ADT^A08^ADT_A01' }),
    ]),
  );
  // Its number is missing, its name is there; and one that names two people.
  const nobody = { ...quarantined, id: '' };
  const second = [`PID|2||${kept.id}^^^^PI||${kept.kanji}`];
  return [
    ...each,
    hl7({ controlId: 'Q-1', person: nobody }),
    hl7({ controlId: 'Q-2', person: quarantined, segments: second }),
    hl7({ controlId: 'L-1', person: kept, reportChars: 400_000 }),
    hl7({ controlId: 'L-2', person: held, reportChars: 400_000 }),
  ];
}

/** By the watched folder, together with a row that cannot be taken. */
async function stopByFile(hospital: Hospital, id: string): Promise<void> {
  const folder = join(hospital.state, 'register');
  const path = join(folder, `${randomUUID()}.csv`);
  const rows = [
    'patient_id,basis,notice,notified_on,stopped_on,as_of',
    `${id},article-57,,,${daysAgo(0)},${daysAgo(0)}`,
    `${people.kept.id},article-57,2025-01,2025-99-99,,${daysAgo(0)}`,
  ];
  await mkdir(folder, { recursive: true });
  await writeFile(path, `${rows.join('\n')}\n`);
  // It lies there for a minute already.
  const then = systemClock.now() / 1000 - 60;
  await utimes(path, then, then);
  await hospital.cli(
    'register',
    'notice',
    '--version',
    '2026-02',
    '--basis',
    'article-57',
    '--categories',
    'lab-result',
    '--from',
    daysAgo(1),
  );
  while ((await readdir(folder)).some((name) => name.endsWith('.csv'))) await systemClock.sleep(50);
}

/** Commands that are given, or look at, the people; also wrongly. */
async function speakOfThem(hospital: Hospital): Promise<void> {
  const { kept, held, refused } = people;
  const on = ['--on', daysAgo(90)];
  await hospital.cli('register', 'notify', '--patient', held.id, '--notice', 'no-such-notice', ...on);
  await hospital.cli('register', 'notify', '--patient', held.id, '--notice', '2025-01', '--on', 'yesterday');
  await hospital.cli('register', 'stop', '--patient', refused.id, '--basis', 'article-99');
  await hospital.cli('register', 'stop', '--patient', kept.id.repeat(20));
  await hospital.cli('register', 'withdraw', '--patient', refused.id);
  for (const verb of ['status', 'gaps']) await hospital.cli(verb);
  for (const words of [
    ['quarantine', 'list'],
    ['ledger', 'verify'],
    ['buffer', 'verify'],
    ['check', '--live'],
  ] as const) {
    const [verb, ...rest] = words;
    await hospital.cli(verb, ...rest);
    await hospital.cli(verb, ...rest, '--json');
  }
}

async function untilHeartbeats(producer: StallingProducer, count: number): Promise<void> {
  while (producer.posted.filter(({ path }) => path === '/v1/metrics').length < count) await systemClock.sleep(50);
}

async function readFiles(folder: string): Promise<Buffer> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return Buffer.concat(await Promise.all(paths.map((path) => readFile(path))));
}
