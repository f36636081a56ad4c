/* An everyday program in C: streams, folders, sorting, errors by number. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(int argc, char **argv) {
    FILE *in = fopen("/in/input", "r");
    if (!in) {
        perror("/in/input");
        return 2;
    }
    char *lines[64], text[256];
    size_t count = 0;
    while (count < 64 && fgets(text, sizeof text, in))
        lines[count++] = strdup(text);
    fclose(in);
    qsort(lines, count, sizeof *lines, by_text);
    if (mkdir("/out/sorted", 0777))
        return 3;
    FILE *out = fopen("/out/sorted/lines", "w");
    for (size_t i = 0; i < count; i++)
        fputs(lines[i], out);
    fclose(out);
    struct stat stat_of;
    if (stat("/out/sorted/lines", &stat_of))
        return 4;
    printf("%zu lines, %lld bytes, argument %s\n", count, (long long)stat_of.st_size, argc > 1 ? argv[1] : "none");
    DIR *dir = opendir("/out/sorted");
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            printf("entry %s\n", entry->d_name);
    closedir(dir);
    int fd = open("/out/sorted/lines", O_RDWR);
    char part[5] = {0};
    if (pread(fd, part, 4, 1) != 4 || lseek(fd, 0, SEEK_END) != stat_of.st_size)
        return 5;
    printf("read %s\n", part);
    if (ftruncate(fd, 3) || close(fd) || symlink("sorted/lines", "/out/link"))
        return 6;
    printf("missing: %s\n", open("/in/nothing", O_RDONLY) < 0 ? strerror(errno) : "there");
    printf("read-only: %s\n", unlink("/in/input") ? strerror(errno) : "gone");
    printf("not empty: %s\n", rmdir("/out/sorted") ? strerror(errno) : "gone");
    struct timespec now;
    printf("clock %d\n", clock_gettime(CLOCK_MONOTONIC, &now));
    return 7;
}
