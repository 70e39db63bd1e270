/** What a disk tier has done since it was opened. */
export class DiskCounters {
  restoredObjects = 0;
  tornFiles = 0;
  writtenObjects = 0;
  writtenBytes = 0;
  readObjects = 0;
  readBytes = 0;
  evictedObjects = 0;
  /** Stayed in memory only: no disk took them. */
  refusedObjects = 0;
  writeFailures = 0;
  readFailures = 0;
  /** Came back with other bytes than were written. */
  damagedObjects = 0;
}
