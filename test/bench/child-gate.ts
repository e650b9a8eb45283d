/**
 * The gate over the register of a whole prefecture: asked about patients in no order, one in fifty of whom has said
 * stop. Says `{"judgements": …, "seconds": …}`.
 *
 * `node child-gate.ts DATABASE PATIENTS JUDGEMENTS`
 */
import { addDays, dayJst, systemClock } from '../../agent/base/clock.ts';
import { openDatabase } from '../../agent/base/database.ts';
import { RegisterGate } from '../../agent/gate/gate.ts';
import { Register } from '../../agent/gate/register.ts';
import { gateMigration } from '../../agent/gate/schema.ts';

/** A step through the patients that shares no divisor with their number, so that each is met and none is expected. */
const stride = 7_368_787;

/** The gate is asked within the transaction that acts on its answer; as many messages of 16 senders share one. */
const groupSize = 16;

const [path = '', patientCount = '', judgementCount = ''] = process.argv.slice(2);
const patients = Number(patientCount);
const judgements = Number(judgementCount);
const now = systemClock.now();
const items = { basis: 'article-57', categories: ['lab-result'], from: addDays(dayJst(now), -400) } as const;

const db = openDatabase(path, [gateMigration]);
const register = new Register(db);
register.addNoticeVersion({ version: '2025-01', ...items }, now);
register.addFiling({ producer: 'ldi', ...items }, now);
register.refresh({ name: 'file', asOf: now, rowCount: patients }, now);
fill();
const gate = new RegisterGate(
  db,
  register,
  { now: () => now, isTrusted: () => true },
  {
    producers: [{ name: 'ldi', basis: 'article-57' }],
    waitingDays: 31,
    maxAgeMs: 345_600_000,
  },
);

const startedAt = performance.now();
let passed = 0;
const judgeGroup = db.transaction((from: number) => {
  for (let asked = from; asked < Math.min(from + groupSize, judgements); asked++) {
    const subject = ((asked * stride) % patients) + 1;
    if (gate.judge({ subject, category: 'lab-result', producer: 'ldi' }).pass) passed++;
  }
});
for (let from = 0; from < judgements; from += groupSize) judgeGroup(from);
const seconds = (performance.now() - startedAt) / 1000;
if (passed === 0 || passed === judgements) throw new Error('the gate said the same of everybody');
db.close();
process.stdout.write(`${JSON.stringify({ judgements, seconds })}\n`);

/** By SQL: a million patients by the ordinary way would be a bench of its own. */
function fill(): void {
  const each = 'WITH RECURSIVE each(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM each WHERE n < ?)';
  const told = addDays(dayJst(now), -90);
  db.transaction(() => {
    db.prepare(`${each} INSERT INTO subject(id, root, public_id) SELECT n, n, randomblob(16) FROM each`).run(patients);
    db.prepare(`${each} INSERT INTO notice SELECT n, '2025-01', ?, ? FROM each`).run(patients, told, now);
    db.prepare(
      `${each} INSERT INTO stop(subject, basis, stopped_on, recorded_at) SELECT n, 'all', ?, ? FROM each WHERE n % 50 = 0`,
    ).run(patients, told, now);
  })();
}
