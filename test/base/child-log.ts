/** Reports many events and exits at once: what was buffered must still be written. */
import { createLog } from '../../agent/base/log.ts';

const log = createLog();
for (let number = 0; number < 500; number++) {
  log.report({ name: 'parcel.stored', parcel: `p${number}`, numbers: { records: number } });
}
for (let number = 0; number < 500; number++) log.report({ name: 'ship.failed', producer: 'ldi', code: 'BUFFER_FULL' });
log.flush();
log.report({ name: 'agent.stopped' });
process.exit(0);
