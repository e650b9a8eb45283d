/**
 * A receiver with the real gate and buffer in a process of its own, to be watched and killed: `child-receive.ts FOLDER`
 * prints the port it listens on and serves until it is killed or its stdin is closed (a killed strace leaves it alive).
 */
import { systemClock } from '../../../agent/base/clock.ts';
import { sourceCommonShape } from '../../../agent/source/define.ts';
import { dicom } from '../../../agent/source/dicom/index.ts';
import { Flow } from '../../flow/harness.ts';

const [folder] = process.argv.slice(2);
const flow = new Flow({ folder: folder ?? '' });
const options = dicom.options
  .safeExtend(sourceCommonShape)
  .parse({ name: 'pacs', aeTitle: 'KAKEHASHI', listen: '127.0.0.1:0' });
const create = await dicom.load();
const source = create(options, {
  name: 'pacs',
  intake: flow.intake('pacs'),
  clock: systemClock,
  signal: new AbortController().signal,
  report: () => undefined,
});
const listening = await source.listen?.();
process.stdout.write(`${listening?.port}\n`);
process.stdin.on('end', () => process.exit(0)).resume();
