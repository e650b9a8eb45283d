/**
 * A register file of a whole prefecture's hospital, taken for the first time: read, checked, recorded, synced. One
 * patient in fifty has said no. Says `{"seconds": …}`.
 *
 * `node child-import.ts FOLDER PATIENTS`
 */
import { parseRegisterFile, registerColumns } from '../../agent/gate/register-file.ts';
import { importRegister } from '../../agent/flow/register.ts';
import { Flow, longAgo, nameOf, today } from '../flow/harness.ts';

const [folder = '', patients = ''] = process.argv.slice(2);
const flow = new Flow({ folder });
flow.filed();
const bytes = Buffer.from(registerText(Number(patients)));
const startedAt = performance.now();
const notices = new Map(flow.store.register.noticeVersions().map(({ version, basis }) => [version, basis]));
const result = await importRegister(flow.store, parseRegisterFile(bytes, notices, flow.time.now()), {
  report: 'register.csv.report',
  via: 'bench',
  nameOf: (patientId) => nameOf(patientId),
  finish: (after) => flow.finish(after),
  // As app/register-folder.ts lets others have their turn.
  pause: () => new Promise((resolve) => setImmediate(resolve)),
});
const seconds = (performance.now() - startedAt) / 1000;
flow.close();
if (result.notices !== Number(patients) || result.stops !== Number(patients) / 50) throw new Error('rows are missing');
process.stdout.write(`${JSON.stringify({ seconds })}\n`);

function registerText(count: number): string {
  const rows = Array.from({ length: count }, (_, index) => {
    const stoppedOn = index % 50 === 0 ? '2026-11-01' : '';
    return `${1_000_000_000 + index},article-57,notice-article-57,${longAgo},${stoppedOn},${today}`;
  });
  return [registerColumns.join(','), ...rows, ''].join('\n');
}
