/** Starts, says in which mode, and dies as it is told. */
import { writeSync } from 'node:fs';
import { systemClock } from '../../agent/base/clock.ts';
import { CrashMarker } from '../../agent/health/crash.ts';

const [path = '', end = 'kill'] = process.argv.slice(2);
const marker = new CrashMarker({ path, clock: systemClock, report: () => undefined });
marker.begin();
writeSync(1, marker.isSafeMode() ? 'safe' : 'normal');
if (end === 'clean') marker.end();
else process.kill(process.pid, 'SIGKILL');
